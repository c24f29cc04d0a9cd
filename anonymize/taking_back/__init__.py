"""Taking back: subjects who opted out or are erased, versions that expire. A person who goes leaves no row and no id in what stays."""
