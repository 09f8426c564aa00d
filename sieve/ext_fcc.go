package sieve

// fccTags are :fcc and what of fileinto may stand with it (RFC 8580, 3; RFC 9042, 5).
var fccTags = append([]tagRule{{name: "fcc", extension: extFcc, value: kindString}}, targetTags...)

// fcc compiles :fcc; nil when it is not given.
func (c *compiler) fcc(u *usage) *targetCommand {
	tag := u.tag("fcc")
	if tag == nil {
		for _, rule := range targetTags {
			if t := u.tag(rule.name); t != nil {
				c.fault(t.at.errorf("the tag \":%s\" needs \":fcc\"", rule.name))
			}
		}
		return nil
	}
	t := c.target(u, tag.value)
	if t.flags == nil {
		t.flags = []text{} // not the flags of the message
	}
	return &t
}
