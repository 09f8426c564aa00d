// Package arch holds the house to its plan: which package stands on which floor, which
// modules a public package may know, how long a function and a file may be.
//
// The main type is [Tree], the source as the tests read it. The package is used by
// nothing; `go test ./internal/arch` is what it is for. A change of [Floors] or [Modules]
// needs a decision in docs/decisions.
package arch

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// module is the path of the whole program in imports.
const module = "postroad"

// Limits of size, in lines. What is over them stands in ratchet.txt and may only shrink.
const (
	FunctionMax = 70
	FileMax     = 800
)

// Floors says where a folder stands; the longest prefix counts. Imports point down or
// stay on their floor.
var Floors = map[string]int{
	"address": 0, "dns": 0, "message": 0, "sasl": 0, "smtp": 0, "imap": 0, "pop3": 0, "jmap": 0,
	"managesieve": 0, "sieve": 0, "milter": 0, "mailauth": 0, "tlspolicy": 0, "report": 0,
	"mailfile": 0, "web": 0,

	"internal/mailflow": 1, "internal/kv": 1, "internal/blob": 1, "internal/config": 1,
	"internal/telemetry": 1, "internal/invariant": 1,

	"internal/mailstore": 2, "internal/directory": 2, "internal/search": 2, "internal/certs": 2,
	"internal/cluster": 2, "internal/trace": 2, "internal/scripts": 2, "internal/objects": 2,
	"internal/outbox": 2, "internal/snooze": 2,

	"internal/mta": 3, "internal/mda": 3, "internal/mua": 3,

	"internal/server": 4, "internal/admin": 4,

	"cmd": 5,

	"internal/arch": 6, "test": 6, "bench": 6, // outside the house: nobody imports them
}

// Modules lists what public packages (floor 0) may import besides the standard library,
// golang.org/x and each other.
var Modules = map[string][]string{
	"dns":  {"github.com/miekg/dns"},
	"imap": {"github.com/klauspost/compress"}, // COMPRESS=DEFLATE
	"jmap": {"github.com/coder/websocket"},    // RFC 8887
	"sasl": {"github.com/xdg-go/scram"},
}

// TestModules may be imported by any test: they check, they are not linked.
var TestModules = []string{
	"github.com/google/go-cmp", "pgregory.net/rapid", "go.uber.org/goleak", "github.com/xdg-go/scram",
	"github.com/emersion/go-msgauth", "github.com/miekg/dns",
}

// houses are the parts of floor 3 that do not know each other.
var houses = []string{"internal/mta", "internal/mda", "internal/mua"}

// Forbidden are never imported outside of tests: quadratic or unbounded on strangers'
// bytes, or not Go at all.
var Forbidden = map[string]string{
	"net/mail":       "quadratic address parsing; use address and message",
	"net/textproto":  "unbounded headers; use message",
	"mime":           "use message",
	"mime/multipart": "use message",
	"C":              "no cgo",
}

// badNames are package names that say nothing.
var badNames = []string{"util", "utils", "common", "helper", "helpers", "types", "misc", "base"}

// File is one parsed source file.
type File struct {
	Path    string // relative to the root, with slashes
	Dir     string
	Test    bool
	Lines   int
	AST     *ast.File
	Imports []string
}

// Tree is all Go source of the repository.
type Tree struct {
	Root  string
	Set   *token.FileSet
	Files []*File
}

// Load parses what is below root, folders named testdata, vendor, node_modules or with a
// leading dot left out.
func Load(root string) (*Tree, error) {
	t := &Tree{Root: root, Set: token.NewFileSet()}
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if n := d.Name(); name != root && (n == "testdata" || n == "vendor" || n == "node_modules" || strings.HasPrefix(n, ".")) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		return t.add(name)
	})
	return t, err
}

// add parses one file.
func (t *Tree) add(name string) error {
	parsed, err := parser.ParseFile(t.Set, name, nil, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return fmt.Errorf("parse %s: %w", name, err)
	}
	rel, err := filepath.Rel(t.Root, name)
	if err != nil {
		return err
	}
	rel = filepath.ToSlash(rel)
	f := &File{Path: rel, Dir: path.Dir(rel), Test: strings.HasSuffix(rel, "_test.go"), AST: parsed,
		Lines: t.Set.File(parsed.FileStart).LineCount()}
	for _, i := range parsed.Imports {
		p, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			return err
		}
		f.Imports = append(f.Imports, p)
	}
	t.Files = append(t.Files, f)
	return nil
}

// floorOf returns the floor of a folder and the entry it stands under; "" when there is
// none.
func floorOf(dir string) (floor int, entry string) {
	for p := dir; p != "." && p != "/"; p = path.Dir(p) {
		if f, ok := Floors[p]; ok {
			return f, p
		}
	}
	return 0, ""
}

// within tells whether an import path is a module or a package in it.
func within(importPath, module string) bool {
	return importPath == module || strings.HasPrefix(importPath, module+"/")
}

// CheckImport returns why a file may not import a package, "" when it may.
func CheckImport(f *File, imported string) string {
	if why, ok := Forbidden[imported]; ok && !f.Test {
		return why
	}
	floor, entry := floorOf(f.Dir)
	if entry == "" {
		return fmt.Sprintf("folder %s stands on no floor", f.Dir)
	}
	if !within(imported, module) {
		return checkForeign(f, floor, imported)
	}
	to := strings.TrimPrefix(imported, module+"/")
	toFloor, toEntry := floorOf(to)
	switch {
	case toEntry == "":
		return fmt.Sprintf("%s stands on no floor", to)
	case toFloor > floor:
		return fmt.Sprintf("floor %d must not know floor %d", floor, toFloor)
	}
	for _, a := range houses {
		for _, b := range houses {
			if a != b && within(f.Dir, a) && within(to, b) {
				return fmt.Sprintf("%s and %s meet in internal/mailflow only", a, b)
			}
		}
	}
	return ""
}

// checkForeign is CheckImport for what is not ours.
func checkForeign(f *File, floor int, imported string) string {
	first, _, _ := strings.Cut(imported, "/")
	if !strings.Contains(first, ".") || first == "golang.org" || floor > 0 {
		return ""
	}
	allowed := []string{}
	for p := f.Dir; p != "."; p = path.Dir(p) {
		allowed = append(allowed, Modules[p]...)
	}
	if f.Test {
		allowed = append(allowed, TestModules...)
	}
	for _, m := range allowed {
		if within(imported, m) {
			return ""
		}
	}
	return "a public package may not know this module (table Modules)"
}

// Sizes returns what is over the limits: "function FILE NAME" and "file FILE" with the
// number of lines. Functions of tests are not counted: they are tables.
func (t *Tree) Sizes() map[string]int {
	over := map[string]int{}
	for _, f := range t.Files {
		if f.Lines > FileMax {
			over["file "+f.Path] = f.Lines
		}
		if f.Test {
			continue
		}
		for _, d := range f.AST.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Body == nil {
				continue
			}
			lines := t.Set.Position(fn.End()).Line - t.Set.Position(fn.Pos()).Line + 1
			if lines > FunctionMax {
				over["function "+f.Path+" "+functionName(fn)] = lines
			}
		}
	}
	return over
}

func functionName(fn *ast.FuncDecl) string {
	if fn.Recv == nil || len(fn.Recv.List) == 0 {
		return fn.Name.Name
	}
	t := fn.Recv.List[0].Type
	if s, ok := t.(*ast.StarExpr); ok {
		t = s.X
	}
	if x, ok := t.(*ast.IndexExpr); ok {
		t = x.X
	}
	if id, ok := t.(*ast.Ident); ok {
		return id.Name + "." + fn.Name.Name
	}
	return fn.Name.Name
}
