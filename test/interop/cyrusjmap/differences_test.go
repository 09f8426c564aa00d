//go:build interop

package cyrusjmap

// differences are all that there are, each explained.
var differences = []difference{
	{`.*`, `/./1/(filter|sort|collapseThreads)`, "RFC 8620, 5.5, does not have them in the response: Cyrus tells the arguments again"},
	{`.*`, `/./1/canCalculateChanges`, "RFC 8620, 5.5: each server says for itself what it can calculate; Cyrus can for few filters"},
	{`query before`, `/0/1/(ids|total)`, "RFC 8621, 4.4.1: receivedAt must be before the date; Cyrus finds what is at the date too"},
	{`(sort|mailbox query|metadata|addresses|header|body|preview|threads).*`, `/0/1/total`, "RFC 8620, 5.5: total is there only if calculateTotal asks for it"},
	{`window 2`, `/0/1/position`, "RFC 8620, 5.5: a position behind the end gives no ids and is no error; Cyrus tells the end as the position"},
	{`query attachment`, `/0/1/(ids|total)`, "RFC 8621, 4.4.1: what has hasAttachment; Cyrus looks for a keyword that is set by a program beside it"},
	{`mailboxes`, `.*/myRights/mayAdmin`, "RFC 8621, 2, has nine rights; the tenth is Cyrus's own"},
	{`addresses`, `.*/(from|to)`, "RFC 8621, 4.1.2.3: best effort for what is no address; Cyrus shows nothing of a word alone, we the word"},
	{`header forms`, `.*/header:(From:asAddresses|To:asGroupedAddresses/0/(name|addresses))`, "RFC 8621, 4.1.2.3 and 4.1.2.4: as for addresses; Cyrus makes a group of the word"},
	{`body structure`, `.*/subParts`, "RFC 8621, 4.1.4: subParts is null of what is not multipart/*"},
	{`body structure`, `.*/subParts/.*/charset`, "RFC 8621, 4.1.4: charset is null when there is a Content-Type that is not text/*"},
	{`body structure`, `.*/bodyStructure/(charset|partId|type)`, "RFC 8621, 4.1.4: of a multipart without one boundary Cyrus shows no part; we show it as text, so that it can be read"},
	{`body lists`, `.*/(hasAttachment|attachments)`, "RFC 8621, 4.1.4: true with an attachment that is not inline, but of signatures and reports, which programs read (MAY); Cyrus goes by file names, and does not show all that is behind a boundary that two multiparts share"},
	{`body lists`, `.*/(textBody|htmlBody)/.*/partId`, "RFC 8621, 4.1.4: parts are those of RFC 2046, 5.1.2, where the boundary of an outer multipart ends the inner ones; Cyrus makes empty parts of such lines"},
	{`body values`, `.*/bodyValues/.*`, "RFC 8621, 4.1.4: the same messages: a multipart without parts has its text as the value, and Cyrus has the empty parts"},
	{`preview`, `.*/preview`, "RFC 8621, 4.1.4: a fragment of the text, at most 256 characters, of the server's choice"},
	{`threads`, `/2/1/list`, "RFC 8620, 5.1: an id that is there more than once MUST be answered once"},
	{`snippets`, `.*/attachments`, "RFC 8621, 5.1, has no such property of a snippet: Cyrus's own"},
	{`.*error.*`, `.*/description`, "RFC 8620, 3.6.2 and 5.3: a description may be there or not"},
	{`error.*`, `.*/arguments`, "RFC 8620, 3.6.2: more properties may be there; ours are in the description"},
	{`set error immutable`, `/0/1/(updated|notUpdated)`, "RFC 8621, 4.1.3, and RFC 8620, 5.3: subject cannot change, which is invalidProperties; Cyrus says that it did it"},
	{`set error not found`, `/0/1/(destroyed|notDestroyed)`, "RFC 8620, 5.3: destroy of what is not there is notFound; Cyrus says that it did it"},
	{`set error mailbox name`, `.*/existingId`, "RFC 8621, 2.5, asks for no existingId; it tells which mailbox has the name"},
	{`error changes`, `/0/1/type`, "RFC 8620, 5.2: a state that is not known is cannotCalculateChanges; Cyrus takes what is no number of its own as a wrong argument"},
	{`error back-reference`, `/0/1/type`, "RFC 8620, 3.6.2: invalidResultReference; Cyrus has a name of its own"},
	{`error filter`, `/0/1/type`, "RFC 8620, 5.5: a filter that is understood by form but not by the server is unsupportedFilter"},
}
