package email

import (
	"postroad/internal/mua/jmapd/access"
	"postroad/jmap"
)

// bodyMethods are the methods about what is inside of messages.
func (m *Methods) bodyMethods() []jmap.Method { return nil }

// bodySession is their part of the session object's capabilities.
func (m *Methods) bodySession() map[string]any { return nil }

// bodyCapabilities is their part of an account's capabilities.
func (m *Methods) bodyCapabilities(_ *access.User, _ *access.Account) map[string]any { return nil }
