"""What commands print: tables on a terminal, plain columns in a pipe."""
