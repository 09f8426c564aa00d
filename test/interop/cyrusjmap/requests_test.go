//go:build interop

package cyrusjmap

import "fmt"

// request is what both servers are asked, in this order: later ones see what earlier ones
// changed.
type request struct{ name, calls string }

// filters and sorts of Email/query, by the name of the request.
var filters = [][2]string{
	{"in mailbox", `{"inMailbox":"{mailbox INBOX}"}`}, {"other than", `{"inMailboxOtherThan":["{mailbox INBOX}"]}`},
	{"before", `{"before":"2026-01-01T00:10:00Z"}`}, {"after", `{"after":"2026-01-01T00:10:00Z"}`},
	{"min size", `{"minSize":1000}`}, {"max size", `{"maxSize":1000}`},
	{"has keyword", `{"hasKeyword":"$seen"}`}, {"not keyword", `{"notKeyword":"todo"}`},
	{"all in thread", `{"allInThreadHaveKeyword":"$seen"}`}, {"some in thread", `{"someInThreadHaveKeyword":"$flagged"}`}, {"none in thread", `{"noneInThreadHaveKeyword":"$seen"}`},
	{"attachment", `{"hasAttachment":true}`}, {"text", `{"text":"elephant"}`}, {"from", `{"from":"ann"}`}, {"to", `{"to":"bob"}`}, {"subject", `{"subject":"plans"}`},
	{"body", `{"body":"elephant"}`}, {"header there", `{"header":["In-Reply-To"]}`}, {"header with", `{"header":["X-Number","07"]}`},
	{"and", `{"operator":"AND","conditions":[{"hasKeyword":"$seen"},{"inMailbox":"{mailbox Archive}"}]}`},
	{"or", `{"operator":"OR","conditions":[{"hasKeyword":"$flagged"},{"subject":"plans"}]}`}, {"not", `{"operator":"NOT","conditions":[{"hasKeyword":"$seen"},{"subject":"plans"}]}`},
	{"nested", `{"operator":"AND","conditions":[{"operator":"NOT","conditions":[{"minSize":2000}]},{"operator":"OR","conditions":[{"text":"elephant"},{"hasKeyword":"todo"}]}]}`},
}

var sorts = [][2]string{
	{"received", `[{"property":"receivedAt","isAscending":true}]`}, {"newest", `[{"property":"receivedAt","isAscending":false}]`},
	{"size", `[{"property":"size"}]`}, {"keyword", `[{"property":"hasKeyword","keyword":"$seen","isAscending":false},{"property":"receivedAt"}]`},
	{"subject", `[{"property":"subject"},{"property":"receivedAt"}]`}, {"some in thread", `[{"property":"someInThreadHaveKeyword","keyword":"$flagged","isAscending":false},{"property":"receivedAt"}]`},
}

const byDate = `[{"property":"receivedAt"}]`

// requests are all.
var requests = append(append(queries(), gets...), sets...)

func queries() (all []request) {
	for _, f := range filters {
		all = append(all, request{"query " + f[0], fmt.Sprintf(`[["Email/query",{"accountId":"{account}","filter":%s,"sort":%s,"calculateTotal":true},"0"]]`, f[1], byDate)})
	}
	for _, s := range sorts {
		all = append(all, request{"sort " + s[0], fmt.Sprintf(`[["Email/query",{"accountId":"{account}","filter":{"inMailbox":"{mailbox INBOX}"},"sort":%s},"0"]]`, s[1])})
	}
	for i, w := range []string{`"position":5,"limit":4`, `"position":-3`, `"position":500`, `"anchor":"{email 07}","limit":3`, `"anchor":"{email 07}","anchorOffset":-2,"limit":3`, `"collapseThreads":true`, `"limit":0`} {
		all = append(all, request{fmt.Sprint("window ", i), fmt.Sprintf(`[["Email/query",{"accountId":"{account}","sort":%s,%s,"calculateTotal":true},"0"]]`, byDate, w)})
	}
	return all
}

// every is all messages, in the order of arrival.
const every = `["Email/query",{"accountId":"{account}","sort":` + byDate + `},"q"],`
const ofEvery = `"accountId":"{account}","#ids":{"resultOf":"q","name":"Email/query","path":"/ids"}`

var gets = []request{
	{"mailboxes", `[["Mailbox/get",{"accountId":"{account}","ids":null,"properties":["name","parentId","role","totalEmails","unreadEmails","totalThreads","unreadThreads","isSubscribed","myRights"]},"0"]]`},
	{"mailbox query", `[["Mailbox/query",{"accountId":"{account}","filter":{"role":"archive"},"calculateTotal":true},"0"]]`},
	{"mailbox query by name", `[["Mailbox/query",{"accountId":"{account}","sort":[{"property":"name"}]},"0"]]`},
	{"metadata", `[` + every + `["Email/get",{` + ofEvery + `,"properties":["mailboxIds","keywords","size","receivedAt","threadId"]},"0"]]`},
	{"addresses", `[` + every + `["Email/get",{` + ofEvery + `,"properties":["from","to","cc","bcc","replyTo","sender"]},"0"]]`},
	{"header properties", `[` + every + `["Email/get",{` + ofEvery + `,"properties":["subject","sentAt","messageId","inReplyTo","references"]},"0"]]`},
	{"header forms", `[` + every + `["Email/get",{` + ofEvery + `,"properties":["header:Subject","header:Subject:asText","header:From:asAddresses","header:To:asGroupedAddresses","header:Date:asDate","header:Message-ID:asMessageIds","header:List-Post:asURLs","header:Received:asRaw:all","header:Nothing:asText","header:Nothing:all"]},"0"]]`},
	{"body structure", `[` + every + `["Email/get",{` + ofEvery + `,"properties":["bodyStructure"],"bodyProperties":["partId","type","subParts","name","disposition","cid","charset"]},"0"]]`},
	{"body lists", `[` + every + `["Email/get",{` + ofEvery + `,"properties":["textBody","htmlBody","attachments","hasAttachment"],"bodyProperties":["partId","type"]},"0"]]`},
	{"body values", `[` + every + `["Email/get",{` + ofEvery + `,"properties":["bodyValues"],"fetchTextBodyValues":true,"maxBodyValueBytes":60},"0"]]`},
	{"preview", `[` + every + `["Email/get",{` + ofEvery + `,"properties":["preview"]},"0"]]`},
	{"threads", `[` + every + `["Email/get",{` + ofEvery + `,"properties":["threadId"]},"1"],["Thread/get",{"accountId":"{account}","#ids":{"resultOf":"1","name":"Email/get","path":"/list/*/threadId"}},"2"]]`},
	{"snippets", `[["SearchSnippet/get",{"accountId":"{account}","filter":{"text":"elephant"},"emailIds":["{email 00}","{email 40}"]},"0"]]`},
	{"not found", `[["Email/get",{"accountId":"{account}","ids":["nobody","{email 01}"],"properties":["id"]},"0"]]`},
}

var sets = []request{
	{"set patch", `[["Email/set",{"accountId":"{account}","update":{"{email 03}":{"keywords/$answered":true,"keywords/$flagged":null},"{email 04}":{"mailboxIds":{"{mailbox INBOX}":true,"{mailbox Trash}":true}}}},"0"],
		["Email/get",{"accountId":"{account}","ids":["{email 03}","{email 04}"],"properties":["keywords","mailboxIds"]},"1"]]`},
	{"set error no mailbox", `[["Email/set",{"accountId":"{account}","update":{"{email 03}":{"mailboxIds":{}}}},"0"]]`},
	{"set error unknown mailbox", `[["Email/set",{"accountId":"{account}","update":{"{email 03}":{"mailboxIds":{"nowhere":true}}}},"0"]]`},
	{"set error immutable", `[["Email/set",{"accountId":"{account}","update":{"{email 03}":{"subject":"other"}}},"0"]]`},
	{"set error not found", `[["Email/set",{"accountId":"{account}","update":{"nobody":{"keywords/$seen":true}},"destroy":["no-one"]},"0"]]`},
	{"set error keyword", `[["Email/set",{"accountId":"{account}","update":{"{email 03}":{"keywords/a b":true}}},"0"]]`},
	{"set error state", `[["Email/set",{"accountId":"{account}","ifInState":"0-no-state","destroy":[]},"0"]]`},
	{"set error mailbox name", `[["Mailbox/set",{"accountId":"{account}","create":{"a":{"name":""},"b":{"name":"Trash"}}},"0"]]`},
	{"set error mailbox has email", `[["Mailbox/set",{"accountId":"{account}","destroy":["{mailbox Archive}"]},"0"]]`},
	{"destroy", `[["Email/set",{"accountId":"{account}","destroy":["{email 05}"]},"0"],["Email/get",{"accountId":"{account}","ids":["{email 05}"],"properties":["id"]},"1"]]`},
	{"error unknown method", `[["Email/nothing",{"accountId":"{account}"},"0"]]`},
	{"error account", `[["Email/get",{"accountId":"nobody","ids":[]},"0"]]`},
	{"error arguments", `[["Email/get",{"accountId":"{account}","ids":"x"},"0"]]`},
	{"error no such argument", `[["Email/get",{"accountId":"{account}","ids":[],"nothing":1},"0"]]`},
	{"error property", `[["Email/get",{"accountId":"{account}","ids":[],"properties":["nothing"]},"0"]]`},
	{"error filter", `[["Email/query",{"accountId":"{account}","filter":{"nothing":1}},"0"]]`},
	{"error sort", `[["Email/query",{"accountId":"{account}","sort":[{"property":"nothing"}]},"0"]]`},
	{"error anchor", `[["Email/query",{"accountId":"{account}","anchor":"nobody"},"0"]]`},
	{"error changes", `[["Email/changes",{"accountId":"{account}","sinceState":"no state"},"0"]]`},
	{"error back-reference", `[["Email/get",{"accountId":"{account}","#ids":{"resultOf":"q","name":"Email/query","path":"/ids"}},"0"]]`},
	{"error max changes", `[["Email/changes",{"accountId":"{account}","sinceState":"0","maxChanges":0},"0"]]`},
}
