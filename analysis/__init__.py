"""The paper's figures and tables from run records, with our values next to the paper's."""
