# Cells of R for gather, and its labels back.
#
#   Rscript vckg.R export object.rds cells.h5ad             Seurat or SingleCellExperiment; needs the package hdf5r
#   Rscript vckg.R export markers.rds markers.csv           a table of markers, such as that of FindAllMarkers
#   Rscript vckg.R import object.rds labels.csv named.rds   adds the labels that `gather annotate --obs labels.csv` wrote
#
# Inside R: source("vckg.R"); write_cells(object, "cells.h5ad"); object <- add_labels(object, "labels.csv")

# Counts, genes by cells (values in their place where there are none), and the columns of the cells.
cells_of <- function(object) {
  if (inherits(object, "Seurat")) {
    assay <- object[[SeuratObject::DefaultAssay(object)]]
    if (inherits(assay, "Assay5")) {
      values <- SeuratObject::LayerData(SeuratObject::JoinLayers(assay), layer = "counts")
    } else {
      kept <- c("counts", "data")
      slots <- lapply(kept, function(slot) SeuratObject::GetAssayData(assay, slot = slot))
      values <- Filter(length, slots)[[1]]
    }
    obs <- cbind(object[[]], ident = SeuratObject::Idents(object))
    var <- list()
  } else if (inherits(object, "SummarizedExperiment")) {
    names <- SummarizedExperiment::assayNames(object)
    values <- SummarizedExperiment::assay(object, if ("counts" %in% names) "counts" else 1L)
    obs <- as.data.frame(SummarizedExperiment::colData(object))
    var <- as.data.frame(SummarizedExperiment::rowData(object))
  } else {
    stop("wanted a Seurat or SingleCellExperiment object, found ", class(object)[1], call. = FALSE)
  }
  list(values = methods::as(values, "CsparseMatrix"), obs = obs, var = var)
}

write_cells <- function(object, path) {
  if (is.data.frame(object)) return(invisible(utils::write.csv(object, path)))
  found <- cells_of(object)
  text <- hdf5r::H5T_STRING$new(size = Inf)$set_cset("UTF-8")
  label <- function(at, ...) {
    for (name in ...names()) {
      value <- list(...)[[name]]
      space <- if (length(value) == 1 && name != "column-order") hdf5r::H5S$new("scalar")
      if (!length(value)) space <- hdf5r::H5S$new("simple", dims = 0, maxdims = 0)
      at$create_attr(name, if (length(value)) value, dtype = if (is.character(value)) text, space = space)
    }
  }
  store <- function(group, name, value) {
    if (is.factor(value)) {
      made <- group$create_group(name)
      label(made, `encoding-type` = "categorical", `encoding-version` = "0.2.0", ordered = FALSE)
      store(made, "categories", levels(value))
      return(store(made, "codes", ifelse(is.na(value), -1L, as.integer(value) - 1L)))
    }
    if (is.character(value) && anyNA(value)) return(store(group, name, factor(value)))
    made <- group$create_dataset(name, value, dtype = if (is.character(value)) text)
    label(made, `encoding-type` = if (is.character(value)) "string-array" else "array", `encoding-version` = "0.2.0")
  }
  frame <- function(name, index, columns) {
    group <- file$create_group(name)
    columns <- columns[vapply(columns, is.atomic, NA)]
    order <- if (length(columns)) names(columns) else character(0)
    label(group, `encoding-type` = "dataframe", `encoding-version` = "0.2.0", `_index` = "_index", `column-order` = order)
    store(group, "_index", index)
    for (column in order) store(group, column, columns[[column]])
  }
  file <- hdf5r::H5File$new(path, mode = "w")
  on.exit(file$close_all())
  label(file, `encoding-type` = "anndata", `encoding-version` = "0.1.0")
  frame("obs", colnames(found$values), as.list(found$obs))
  frame("var", rownames(found$values), as.list(found$var))
  x <- file$create_group("X") # columns of genes by cells are rows of cells by genes
  label(x, `encoding-type` = "csr_matrix", `encoding-version` = "0.1.0", shape = rev(dim(found$values)))
  x[["data"]] <- found$values@x
  x[["indices"]] <- found$values@i
  x[["indptr"]] <- found$values@p
  invisible(path)
}

# Adds the columns of a table of labels: to cells by their names, to a table of markers by its clusters.
add_labels <- function(object, path) {
  labels <- utils::read.csv(path, row.names = 1, check.names = FALSE, colClasses = c(cell = "character"))
  keys <- if (is.data.frame(object)) as.character(object$cluster) else colnames(object)
  for (column in names(labels)) object[[column]] <- labels[match(keys, rownames(labels)), column]
  object
}

if (sys.nframe() == 0L) {
  asked <- commandArgs(trailingOnly = TRUE)
  if (length(asked) == 3 && asked[1] == "export") {
    suppressPackageStartupMessages(write_cells(readRDS(asked[2]), asked[3]))
  } else if (length(asked) == 4 && asked[1] == "import") {
    suppressPackageStartupMessages(saveRDS(add_labels(readRDS(asked[2]), asked[3]), asked[4]))
  } else {
    stop("give: export object.rds cells.h5ad, or: import object.rds labels.csv named.rds", call. = FALSE)
  }
}
