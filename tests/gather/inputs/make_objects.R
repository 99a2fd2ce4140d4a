# Makes the objects of test_r.py: the path of vckg.R and the folder are its arguments.
source(commandArgs(TRUE)[1]); setwd(commandArgs(TRUE)[2])
suppressPackageStartupMessages({library(Matrix); library(SeuratObject); library(SingleCellExperiment)})
m <- as(as.matrix(read.csv("counts.csv", row.names = 1)), "CsparseMatrix")
saveRDS(m, "matrix.rds")
columns <- data.frame(cluster = factor(rep(c("a", "b"), 3)), note = c(NA, rep("é", 5)), row.names = colnames(m))
seurat <- CreateSeuratObject(m, meta.data = columns)
Idents(seurat) <- "cluster"
sce <- SingleCellExperiment(list(logcounts = log1p(m), counts = m), colData = DataFrame(columns))
objects <- list(seurat = seurat, sce = sce)
for (name in names(objects)) {
  saveRDS(objects[[name]], paste0(name, ".rds"))
  write_cells(objects[[name]], paste0(name, ".h5ad"))
  named <- add_labels(objects[[name]], "labels.csv")
  write.csv(data.frame(named$gather_cell_type, named$gather_confidence), paste0(name, ".labels.csv"))
}
# Seurat 5, whose classes Debian does not have: two layers of counts with cells and genes of their own
setClass("LogMap", contains = "matrix")
setClass("Assay5", slots = c(layers = "list", cells = "LogMap", features = "LogMap"))
setClass("Seurat", slots = c(
  assays = "list", meta.data = "data.frame", active.assay = "character", active.ident = "factor"
))
layers <- c("counts.1", "counts.2")
cells <- new("LogMap", matrix(c(1:6 < 4, 1:6 > 3), 6, 2, dimnames = list(colnames(m), layers)))
genes <- new("LogMap", matrix(c(rep(TRUE, 15), FALSE), 8, 2, dimnames = list(rownames(m), layers)))
assay <- new("Assay5", layers = list(counts.1 = m[, 1:3], counts.2 = m[1:7, 4:6]), cells = cells, features = genes)
seurat5 <- new(
  "Seurat", assays = list(RNA = assay), meta.data = columns, active.assay = "RNA", active.ident = columns$cluster
)
saveRDS(seurat5, "seurat5.rds")
