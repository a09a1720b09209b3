"""Writing the course: percent sources to notebooks, homework masters to what students and graders get."""
