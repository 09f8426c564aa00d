package config

import (
	"bytes"
	_ "embed"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"reflect"
	"strings"
	"sync"

	"github.com/BurntSushi/toml"
)

// source is the tree with its comments: the manual is what stands over the fields, so
// the two cannot drift apart.
//
//go:embed tree.go
var source string

// Entry is one key of the manual.
type Entry struct {
	Key     string // "listen.smtp"
	Comment string // lines without comment signs
	Default string // as TOML, empty for tables
	Array   bool   // a table that may be there many times
}

// entries lists the manual in the order of the file.
var entries = sync.OnceValue(func() []Entry {
	comments := fieldComments()
	return describe("", reflect.ValueOf(*Default()), comments)
})

// Manual lists every key in the order of the file.
func Manual() []Entry { return entries() }

// fieldComments reads the comments from the source, by "Type.Field".
func fieldComments() map[string]string {
	file, err := parser.ParseFile(token.NewFileSet(), "tree.go", source, parser.ParseComments)
	if err != nil { // the compiler has read the same text
		panic(fmt.Sprintf("config: tree.go: %v", err))
	}
	comments := map[string]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		t, ok := n.(*ast.TypeSpec)
		if !ok {
			return true
		}
		if s, ok := t.Type.(*ast.StructType); ok {
			for _, f := range s.Fields.List {
				comments[t.Name.Name+"."+f.Names[0].Name] = strings.TrimSpace(f.Doc.Text())
			}
		}
		return false
	})
	return comments
}

// describe lists the fields of a struct: values first, as TOML wants it, then tables.
func describe(prefix string, v reflect.Value, comments map[string]string) []Entry {
	var values, tables []Entry
	t := v.Type()
	for i := range t.NumField() {
		f := t.Field(i)
		e := Entry{Key: prefix + f.Tag.Get("toml"), Comment: comments[t.Name()+"."+f.Name]}
		switch {
		case f.Type.Kind() == reflect.Struct && f.Type.PkgPath() == t.PkgPath():
			tables = append(append(tables, e), describe(e.Key+".", v.Field(i), comments)...)
		case f.Type.Kind() == reflect.Slice && f.Type.Elem().Kind() == reflect.Struct && f.Type.Elem().PkgPath() == t.PkgPath():
			e.Array = true
			tables = append(append(tables, e), describe(e.Key+".", reflect.New(f.Type.Elem()).Elem(), comments)...)
		default:
			e.Default = encodeValue(v.Field(i).Interface())
			values = append(values, e)
		}
	}
	return append(values, tables...)
}

// encodeValue writes one value as TOML.
func encodeValue(v any) string {
	if s := reflect.ValueOf(v); s.Kind() == reflect.Slice && s.Len() == 0 {
		return "[]"
	}
	var b bytes.Buffer
	if err := toml.NewEncoder(&b).Encode(map[string]any{"v": v}); err != nil {
		panic(fmt.Sprintf("config: encode %T: %v", v, err)) // our own types only
	}
	return strings.TrimSpace(strings.TrimPrefix(b.String(), "v = "))
}

// Doc writes the manual: a file in which every key stands with its comment and default,
// commented out.
func Doc(w io.Writer) error {
	var b bytes.Buffer
	b.WriteString("# Configuration of postroad. Every key has a default; an empty file works.\n")
	for _, e := range entries() {
		b.WriteString("\n")
		for line := range strings.SplitSeq(e.Comment, "\n") {
			b.WriteString(strings.TrimRight("# "+line, " ") + "\n")
		}
		at := strings.LastIndexByte(e.Key, '.') + 1
		switch {
		case e.Array:
			fmt.Fprintf(&b, "#[[%s]]\n", e.Key)
		case e.Default == "":
			fmt.Fprintf(&b, "[%s]\n", e.Key)
		default:
			fmt.Fprintf(&b, "#%s = %s\n", e.Key[at:], e.Default)
		}
	}
	_, err := w.Write(b.Bytes())
	return err
}

// Show writes the whole configuration as it is in force. Secrets are stars.
func (c *Config) Show(w io.Writer) error {
	e := toml.NewEncoder(w)
	e.Indent = ""
	if err := e.Encode(c); err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	return nil
}
