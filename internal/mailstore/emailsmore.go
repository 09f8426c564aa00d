package mailstore

// Size is the size of a message, in octets.
func (e *Emails) Size(place int) uint32 {
	g, k := e.at(uint32(place))
	r, _ := e.row(entryAt{g.box[k], g.uid[k]})
	return r.Size
}

// Newest is the message with the highest id: the one that was stored last. 0 where there is
// none.
func (e *Emails) Newest() MessageID {
	n := e.byID.len()
	if n == 0 {
		return 0
	}
	return e.message(e.byID.at(n - 1))
}
