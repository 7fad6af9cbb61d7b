"""Click-through data: raw rows -> prepared arrays -> batches."""
