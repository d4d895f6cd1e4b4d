"""Which network? One file a family: rows and one builder; NETS names them all."""
