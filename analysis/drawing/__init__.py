"""How records become pictures: what a panel shows, lines, rows of dots, tables, style."""
