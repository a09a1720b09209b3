"""What a graded folder says: one page for the instructor, one for each student."""
