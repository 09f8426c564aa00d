package jmap

import "encoding/json"

// The arguments and results of the standard methods (RFC 8620, 5). Extra are the arguments
// beside the standard ones that the data type knows; others are refused before a function
// sees them.

// GetArgs are those of /get (RFC 8620, 5.1). IDs are valid and resolved, each once.
type GetArgs struct {
	AccountID  ID
	IDs        []ID     // nil: all
	Properties []string // nil: all, or those that the type gives by default; "id" is always among them
	Extra      Properties
}

// Wants tells whether a property is asked for.
func (a *GetArgs) Wants(property string) bool {
	if a.Properties == nil {
		return true
	}
	for _, p := range a.Properties {
		if p == property {
			return true
		}
	}
	return false
}

// GetResult is that of /get.
type GetResult struct {
	AccountID ID       `json:"accountId"`
	State     string   `json:"state"`
	List      []Object `json:"list"`
	NotFound  []ID     `json:"notFound"`
}

// SetArgs are those of /set (RFC 8620, 5.3). Ids of updates and destroys are resolved.
type SetArgs struct {
	AccountID ID
	IfInState *string
	Create    []Creation // in the order of the request
	Update    []Update   // in the order of the request
	Destroy   []ID
	Extra     Properties
}

// Creation is an object to be made.
type Creation struct {
	ID     ID // creation id
	Object Properties
}

// Update is a patch for an object. Keys are property names or paths "a/b" (RFC 8620, 5.3,
// PatchObject); a null value takes away.
type Update struct {
	ID    ID
	Patch Properties
}

// SetResult is that of /set. Members of Created hold what the server set or changed, "id"
// among it; of Updated likewise, or nil.
type SetResult struct {
	AccountID    ID               `json:"accountId"`
	OldState     string           `json:"oldState"`
	NewState     string           `json:"newState"`
	Created      map[ID]Object    `json:"created"`
	Updated      map[ID]Object    `json:"updated"`
	Destroyed    []ID             `json:"destroyed"`
	NotCreated   map[ID]*SetError `json:"notCreated"`
	NotUpdated   map[ID]*SetError `json:"notUpdated"`
	NotDestroyed map[ID]*SetError `json:"notDestroyed"`
}

// ChangesArgs are those of /changes (RFC 8620, 5.2).
type ChangesArgs struct {
	AccountID  ID
	SinceState string
	MaxChanges int // 0: not given
	Extra      Properties
}

// ChangesResult is that of /changes. Extra are further members, such as updatedProperties.
type ChangesResult struct {
	AccountID      ID
	OldState       string
	NewState       string
	HasMoreChanges bool
	Created        []ID
	Updated        []ID
	Destroyed      []ID
	Extra          map[string]any
}

// MarshalJSON writes the result with its further members.
func (r *ChangesResult) MarshalJSON() ([]byte, error) {
	m := map[string]any{"accountId": r.AccountID, "oldState": r.OldState, "newState": r.NewState,
		"hasMoreChanges": r.HasMoreChanges, "created": notNil(r.Created), "updated": notNil(r.Updated), "destroyed": notNil(r.Destroyed)}
	for k, v := range r.Extra {
		m[k] = v
	}
	return json.Marshal(m)
}

// notNil is a list that JSON writes as one.
func notNil(ids []ID) []ID {
	if ids == nil {
		return []ID{}
	}
	return ids
}

// QueryArgs are those of /query (RFC 8620, 5.5).
type QueryArgs struct {
	AccountID      ID
	Filter         *Filter // nil: all objects
	Sort           []Comparator
	Position       int // may be negative; of no account with an anchor
	Anchor         ID  // empty: none
	AnchorOffset   int
	Limit          int // -1: not given
	CalculateTotal bool
	Extra          Properties
}

// Filter is a condition, or several under an operator (RFC 8620, 5.5).
type Filter struct {
	Operator   string // "AND", "OR", "NOT"; empty: a condition
	Conditions []*Filter
	Condition  Properties
}

// Comparator says how to sort (RFC 8620, 5.5).
type Comparator struct {
	Property   string
	Descending bool
	Collation  string // empty: the server's choice
	Extra      Properties
}

// QueryResult is that of /query. Extra are further members.
type QueryResult struct {
	AccountID           ID
	QueryState          string
	CanCalculateChanges bool
	Position            int
	IDs                 []ID
	Total               int // written where CalculateTotal asked for it
	WithTotal           bool
	Limit               int // written above 0: the server's own, where it is less than what was asked for
	Extra               map[string]any
}

// MarshalJSON writes the result with its further members.
func (r *QueryResult) MarshalJSON() ([]byte, error) {
	m := map[string]any{"accountId": r.AccountID, "queryState": r.QueryState,
		"canCalculateChanges": r.CanCalculateChanges, "position": r.Position, "ids": notNil(r.IDs)}
	if r.WithTotal {
		m["total"] = r.Total
	}
	if r.Limit > 0 {
		m["limit"] = r.Limit
	}
	for k, v := range r.Extra {
		m[k] = v
	}
	return json.Marshal(m)
}

// QueryChangesArgs are those of /queryChanges (RFC 8620, 5.6).
type QueryChangesArgs struct {
	AccountID       ID
	Filter          *Filter
	Sort            []Comparator
	SinceQueryState string
	MaxChanges      int // 0: not given
	UpToID          ID  // empty: none
	CalculateTotal  bool
	Extra           Properties
}

// QueryChangesResult is that of /queryChanges.
type QueryChangesResult struct {
	AccountID     ID
	OldQueryState string
	NewQueryState string
	Total         int
	WithTotal     bool
	Removed       []ID
	Added         []AddedItem
}

// AddedItem is an object that came into a query's result, and where.
type AddedItem struct {
	ID    ID  `json:"id"`
	Index int `json:"index"`
}

// MarshalJSON writes the result.
func (r *QueryChangesResult) MarshalJSON() ([]byte, error) {
	added := r.Added
	if added == nil {
		added = []AddedItem{}
	}
	m := map[string]any{"accountId": r.AccountID, "oldQueryState": r.OldQueryState,
		"newQueryState": r.NewQueryState, "removed": notNil(r.Removed), "added": added}
	if r.WithTotal {
		m["total"] = r.Total
	}
	return json.Marshal(m)
}

// CopyArgs are those of /copy (RFC 8620, 5.4). Each creation has an "id": the object of the
// other account.
type CopyArgs struct {
	FromAccountID            ID
	IfFromInState            *string
	AccountID                ID
	IfInState                *string
	Create                   []Creation
	OnSuccessDestroyOriginal bool
	DestroyFromIfInState     *string
	Extra                    Properties
}

// CopyResult is that of /copy.
type CopyResult struct {
	FromAccountID ID               `json:"fromAccountId"`
	AccountID     ID               `json:"accountId"`
	OldState      string           `json:"oldState"`
	NewState      string           `json:"newState"`
	Created       map[ID]Object    `json:"created"`
	NotCreated    map[ID]*SetError `json:"notCreated"`
}
