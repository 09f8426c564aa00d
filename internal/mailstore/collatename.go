package mailstore

// Casemap prepares a text for the collation i;unicode-casemap (RFC 5051, 2), by which Sort
// compares; prepared texts compare by octets.
func Casemap(s string) string { return casemap(s) }
