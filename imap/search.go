package imap

import "time"

// Limits of a search program. RFC 9051 names none.
const (
	SearchDepthMax = 50   // parentheses, NOT and OR within each other
	SearchKeysMax  = 1000 // keys in all
)

// SearchOp is the kind of a search key.
type SearchOp uint8

// The kinds (RFC 9051, 6.4.4). What has two opposite words in IMAP is one kind under Not.
const (
	SearchAnd         SearchOp = iota // all of Keys; of no keys: every message (ALL)
	SearchOr                          // Keys[0] or Keys[1]
	SearchNot                         // not Keys[0]
	SearchNumbers                     // Set: sequence numbers or UIDs
	SearchFlag                        // has Flag: SEEN, KEYWORD x; RECENT as \Recent
	SearchFrom                        // Text in the From field; likewise To, Cc, Bcc
	SearchTo                          //
	SearchCc                          //
	SearchBcc                         //
	SearchSubject                     // Text in the Subject field
	SearchHeader                      // Text in the field named Field; empty Text: the field is there
	SearchBody                        // Text in the body
	SearchText                        // Text in header or body
	SearchBefore                      // internal date earlier than the day of Date
	SearchOn                          // within the day
	SearchSince                       // within or later
	SearchSentBefore                  // Date field, likewise
	SearchSentOn                      //
	SearchSentSince                   //
	SearchSavedBefore                 // save date, likewise (RFC 8514)
	SearchSavedOn                     //
	SearchSavedSince                  //
	SearchSaveDate                    // the mailbox keeps save dates: SAVEDATESUPPORTED
	SearchOlder                       // internal date more than Number seconds ago (RFC 5032)
	SearchYounger                     // internal date at most Number seconds ago
	SearchLarger                      // size above Number octets
	SearchSmaller                     // size below Number octets
	SearchModSeq                      // mod-sequence at least Number (RFC 7162, 3.1.5)
	SearchEmailID                     // Text is the EMAILID (RFC 8474)
	SearchThreadID                    // Text is the THREADID
	SearchFuzzy                       // Keys[0], matched as the session sees fit (RFC 6203)
)

// SearchKey is a search program, a tree. Text is UTF-8 whatever the charset was. Days of
// Date are without time and zone (RFC 9051, 6.4.4: "disregarding time and timezone"), given
// here as midnight UTC.
type SearchKey struct {
	Op     SearchOp
	Keys   []SearchKey
	Set    NumSet
	Flag   Flag
	Field  string
	Text   string
	Date   time.Time
	Number uint64
}

// Walk calls f for k and every key below it; f may change the key.
func (k *SearchKey) Walk(f func(*SearchKey)) {
	f(k)
	for i := range k.Keys {
		k.Keys[i].Walk(f)
	}
}

// HasModSeq tells whether the program looks at mod-sequences; its result then tells the
// highest (RFC 7162, 3.1.5).
func (k *SearchKey) HasModSeq() bool {
	found := false
	k.Walk(func(k *SearchKey) { found = found || k.Op == SearchModSeq })
	return found
}

// HasFuzzy tells whether the program has a FUZZY key: relevancy scores can be asked for
// (RFC 6203, 4).
func (k *SearchKey) HasFuzzy() bool {
	found := false
	k.Walk(func(k *SearchKey) { found = found || k.Op == SearchFuzzy })
	return found
}
