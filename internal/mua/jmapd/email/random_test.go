package email

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// modelEmail is what a message should be.
type modelEmail struct {
	Boxes    map[string]bool `json:"mailboxIds"`
	Keywords map[string]bool `json:"keywords"`
}

// TestRandomSets makes, changes and destroys messages at random, several in a call, and
// compares all of them with a model after each call.
func TestRandomSets(t *testing.T) {
	house := newBodyHouse(t, Options{})
	rapid.Check(t, func(t *rapid.T) {
		h := newRandomHouse(t, house)
		for range rapid.IntRange(1, 12).Draw(t, "calls") {
			h.step(t)
			h.compare(t)
		}
	})
}

type randomHouse struct {
	*bodyHouse
	boxes []string
	model map[string]*modelEmail
}

// newRandomHouse begins with a house that others have used, emptied.
func newRandomHouse(t *rapid.T, house *bodyHouse) *randomHouse {
	mine := *house
	mine.t = t
	h := &randomHouse{bodyHouse: &mine, model: map[string]*modelEmail{}}
	for _, name := range []string{"INBOX", "Archive", "Trash"} {
		h.boxes = append(h.boxes, h.box("alice", name))
	}
	var old []any
	for _, o := range h.call("alice", "Email/get", "alice", `"ids": null, "properties": ["id"]`)["list"].([]any) {
		old = append(old, at(o, "id"))
	}
	if len(old) > 0 {
		ids, _ := json.Marshal(old)
		h.call("alice", "Email/set", "alice", `"destroy": `+string(ids))
	}
	return h
}

var randomKeywords = []string{"$seen", "$flagged", "$draft", "$answered", "$forwarded", "work"}

// subset draws a set.
func subset(t *rapid.T, what string, from []string, least int) map[string]bool {
	set := map[string]bool{}
	for _, s := range rapid.SliceOfNDistinct(rapid.SampledFrom(from), least, len(from), rapid.ID[string]).Draw(t, what) {
		set[s] = true
	}
	return set
}

// step makes one call.
func (h *randomHouse) step(t *rapid.T) {
	ids := slices.Sorted(maps.Keys(h.model))
	create, update, destroy := map[string]any{}, map[string]any{}, []string{}
	after := map[string]*modelEmail{}
	for i := range rapid.IntRange(0, 3).Draw(t, "creations") {
		m := &modelEmail{Boxes: subset(t, "boxes", h.boxes, 1), Keywords: subset(t, "keywords", randomKeywords, 0)}
		c := fmt.Sprint("c", i)
		create[c], after[c] = map[string]any{"mailboxIds": m.Boxes, "keywords": m.Keywords, "subject": c}, m
	}
	for _, id := range ids {
		switch rapid.IntRange(0, 4).Draw(t, "what") {
		case 0:
			destroy = append(destroy, id)
		case 1, 2:
			update[id] = h.patch(t, h.model[id])
		}
	}
	raw, _ := json.Marshal(map[string]any{"accountId": h.account("alice"), "create": create, "update": update, "destroy": destroy})
	r := h.call("alice", "Email/set", "alice", string(raw[1:len(raw)-1]))
	for c, m := range after {
		id, ok := at(r, "created", c, "id").(string)
		if !ok {
			t.Fatalf("not created: %v", r)
		}
		h.model[id] = m
	}
	for id := range update {
		if _, done := at(r, "updated").(map[string]any)[id]; !done {
			t.Fatalf("%s is not updated: %v", id, r)
		}
	}
	for _, id := range destroy {
		delete(h.model, id)
	}
	if r["notDestroyed"] != nil {
		t.Fatalf("not destroyed: %v", r)
	}
}

// patch changes a message of the model and returns the patch that does the same.
func (h *randomHouse) patch(t *rapid.T, m *modelEmail) map[string]any {
	p := map[string]any{}
	change := func(property string, set map[string]bool, from []string, least int) map[string]bool {
		if rapid.Bool().Draw(t, "whole") {
			fresh := subset(t, property, from, least)
			p[property] = fresh
			return fresh
		}
		fresh := maps.Clone(set)
		for _, s := range from {
			switch rapid.IntRange(0, 3).Draw(t, s) {
			case 0:
				p[property+"/"+s], fresh[s] = true, true
			case 1:
				if len(fresh) > least || !fresh[s] {
					p[property+"/"+s] = nil
					delete(fresh, s)
				}
			}
		}
		return fresh
	}
	m.Boxes = change("mailboxIds", m.Boxes, h.boxes, 1)
	m.Keywords = change("keywords", m.Keywords, randomKeywords, 0)
	return p
}

// compare reads all messages and compares them with the model.
func (h *randomHouse) compare(t *rapid.T) {
	r := h.call("alice", "Email/get", "alice", `"ids": null, "properties": ["mailboxIds", "keywords"]`)
	got := map[string]any{}
	for _, o := range r["list"].([]any) {
		got[at(o, "id").(string)] = map[string]any{"mailboxIds": at(o, "mailboxIds"), "keywords": at(o, "keywords")}
	}
	want, err := json.Marshal(h.model)
	if err != nil {
		t.Fatal(err)
	}
	have, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != string(normal(t, want)) {
		t.Fatalf("there is\n%s\nand should be\n%s", have, want)
	}
}

// normal writes JSON with its members in order.
func normal(t *rapid.T, raw []byte) []byte {
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
