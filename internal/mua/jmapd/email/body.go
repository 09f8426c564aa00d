package email

import (
	"context"

	"postroad/internal/mua/jmapd/access"
	"postroad/jmap"
)

// bodyMethods are the methods about what is inside of messages.
func (m *Methods) bodyMethods() []jmap.Method {
	mail := func(name string, do func(context.Context, *jmap.Call) (any, error)) jmap.Method {
		return jmap.Method{Name: name, Capability: CapabilityMail, Do: do}
	}
	set := emailObjects.Set(nil, m.setEmails)
	return append(m.blobMethods(),
		emailObjects.Get(bodyArguments, m.getEmails),
		set,
		emailObjects.Copy(nil, m.copyEmails, set),
		mail("Email/import", m.importEmails),
		mail("Email/parse", m.parseEmails),
		jmap.Method{Name: "MDN/parse", Capability: CapabilityMDN, Do: m.parseMDNs})
}

// bodySession is their part of the session object's capabilities.
func (m *Methods) bodySession() map[string]any {
	return map[string]any{CapabilityBlob: map[string]any{}}
}

// bodyCapabilities is their part of an account's capabilities.
func (m *Methods) bodyCapabilities(_ *access.User, _ *access.Account) map[string]any {
	return map[string]any{CapabilityBlob: m.blobCapability()}
}
