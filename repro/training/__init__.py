"""One engine for teachers and students: batches x objective x optimizer. It knows nothing of files."""
