package imapserver

import "postroad/imap"

// extension is a set of what a session may be besides a Session.
type extension uint16

// One for each interface of session_ext.go.
const (
	extOrder extension = 1 << iota
	extContext
	extFuzzy
	extMulti
	extACL
	extQuota
	extQuotaSet
	extMetadata
)

// extensionsOf looks which interfaces a session implements.
func extensionsOf(s Session) extension {
	var e extension
	set := func(to extension, on bool) {
		if on {
			e |= to
		}
	}
	_, on := s.(Orderer)
	set(extOrder, on)
	_, on = s.(ContextSearcher)
	set(extContext, on)
	fuzzy, on := s.(FuzzySearcher)
	set(extFuzzy, on && fuzzy.SearchesFuzzily())
	_, on = s.(MultiSearcher)
	set(extMulti, on)
	_, on = s.(ACLer)
	set(extACL, on)
	_, on = s.(Quoter)
	set(extQuota, on)
	_, on = s.(QuotaSetter)
	set(extQuotaSet, on)
	_, on = s.(Annotator)
	set(extMetadata, on)
	return e
}

// extensionCaps are the capabilities of each set of interfaces.
var extensionCaps = []struct {
	needs extension
	caps  []imap.Capability
}{
	{extOrder, []imap.Capability{imap.CapSort, imap.CapSortDisplay, imap.CapESort,
		imap.CapThreadOrderedSubject, imap.CapThreadReferences, imap.CapThreadRefs}},
	{extContext, []imap.Capability{imap.CapContextSearch}},
	{extContext | extOrder, []imap.Capability{imap.CapContextSort}},
	{extFuzzy, []imap.Capability{imap.CapSearchFuzzy}},
	{extMulti, []imap.Capability{imap.CapMultiSearch}},
	{extACL, []imap.Capability{imap.CapACL, imap.CapRights, imap.CapListMyRights}},
	{extQuota, []imap.Capability{imap.CapQuota}},
	{extQuotaSet, []imap.Capability{imap.CapQuotaSet}},
	{extMetadata, []imap.Capability{imap.CapMetadata, imap.CapMetadataServer, imap.CapListMetadata}},
}

// extensionCapabilities returns what the session's interfaces bring.
func (c *Conn) extensionCapabilities() []imap.Capability {
	var caps []imap.Capability
	for _, e := range extensionCaps {
		if c.extends&e.needs == e.needs {
			caps = append(caps, e.caps...)
		}
	}
	if q, ok := c.session.(Quoter); ok {
		for _, r := range q.QuotaResources() {
			caps = append(caps, r.Capability())
		}
	}
	return caps
}
