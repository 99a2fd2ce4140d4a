"""From ranked genes to scored candidates and the walks behind them."""
