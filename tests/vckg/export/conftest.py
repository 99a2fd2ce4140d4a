"""The toy graph in every format."""

import pytest

from tests.vckg.toy import toy
from vckg.export.export import export
from vckg.export.writers import FORMATS


@pytest.fixture(scope="package")
def graph():
    return toy()


@pytest.fixture(scope="package")
def everything(graph, tmp_path_factory):
    """The toy graph in every format, closed sources included."""
    folder = tmp_path_factory.mktemp("exports")
    for form in FORMATS:
        export(graph, form, folder / form, i_have_the_right=True)
    return folder
