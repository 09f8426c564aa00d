package email

import (
	"strconv"
	"strings"

	"postroad/internal/kv/hlc"
	"postroad/internal/mua/jmapd/access"
	"postroad/jmap"
)

// The letters of blob ids. Behind the id of a message or an upload stand, each behind "-",
// numbers of parts as IMAP counts them with "_" for ".": "G…-2" is the decoded second part
// of a message; "G…-2-1_1" reads that as a message again and is a part of it.
const (
	blobMessage = 'G'
	blobUpload  = 'U'
)

// Bounds of a blob id.
const (
	blobStepsMax = 32  // messages within messages
	blobPathMax  = 100 // levels of multiparts within one message
)

// blobID is a blob id taken apart.
type blobID struct {
	kind byte
	of   hlc.ID
	path [][]int
}

// messageBlob is the blob id of a message.
func messageBlob(id hlc.ID) jmap.ID { return access.FormatID(blobMessage, id) }

// parseBlobID reads a blob id; ok is false for what none looks like.
func parseBlobID(id jmap.ID) (b blobID, ok bool) {
	if len(id) < 2 || len(id) > jmap.IDMax {
		return b, false
	}
	steps := strings.Split(string(id), "-")
	b.kind = id[0]
	if b.kind != blobMessage && b.kind != blobUpload || len(steps) > 1+blobStepsMax {
		return b, false
	}
	if b.of, ok = access.ParseID(b.kind, jmap.ID(steps[0])); !ok {
		return b, false
	}
	for _, step := range steps[1:] {
		var path []int
		for digits := range strings.SplitSeq(step, "_") {
			n, err := strconv.Atoi(digits)
			if err != nil || n < 1 || len(path) == blobPathMax || strconv.Itoa(n) != digits {
				return b, false
			}
			path = append(path, n)
		}
		b.path = append(b.path, path)
	}
	return b, true
}
