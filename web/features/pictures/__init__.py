"""Pictures: made smaller once, by a job, when they are saved; a page only says their addresses. docs/pictures.md."""
