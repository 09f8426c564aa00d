package imapserver

// MultiSearchWriter takes the results of a search of many mailboxes and writes each as it
// comes. It is valid until MultiSearch returns.
type MultiSearchWriter struct {
	c      *Conn
	cmd    *command
	search *search
}

// Result writes what was found in a mailbox; of an empty result nothing (RFC 7377, 2.1). Its
// error says that the connection has ended, and MultiSearch should.
func (w *MultiSearchWriter) Result(mailbox string, uidValidity uint32, d *SearchData) error {
	if len(d.UIDs) == 0 {
		return w.c.err
	}
	w.c.esearch(w.cmd, w.search, searchResult(true, d), &correlator{mailbox, uidValidity})
	return w.c.spill()
}

// correlator names the mailbox of an ESEARCH response.
type correlator struct {
	mailbox     string
	uidValidity uint32
}
