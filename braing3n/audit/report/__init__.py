"""One document on a federation's privacy for an ethics board, from the files of its audit."""
