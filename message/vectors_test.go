package message

import (
	"bytes"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

// vectors returns the foreign messages of testdata.
func vectors(t testing.TB) map[string][]byte {
	t.Helper()
	names, err := filepath.Glob("testdata/vectors/*_*.*")
	if err != nil {
		t.Fatal(err)
	}
	v := make(map[string][]byte)
	for _, name := range names {
		if strings.Contains(name, "COPYING") {
			continue
		}
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		v[filepath.Base(name)] = b
	}
	if len(v) < 90 {
		t.Fatalf("only %d vectors", len(v))
	}
	return v
}

// TestVectors compares the structure of each foreign message, and the text of its text
// parts, with a golden file.
func TestVectors(t *testing.T) {
	for name, b := range vectors(t) {
		t.Run(name, func(t *testing.T) {
			m := mustParse(t, b)
			checkTree(t, m, int64(len(b)))
			checkStored(t, m)
			var out strings.Builder
			out.WriteString(dump(m))
			m.Root.Walk(func(p *Part) bool {
				if p.Type == "text" {
					text, err := io.ReadAll(p.Text(bytes.NewReader(b)))
					if err != nil {
						t.Error(err)
					}
					out.WriteString("---- text\n")
					out.Write(text)
					out.WriteByte('\n')
				}
				return true
			})
			golden(t, filepath.Join("testdata/golden", name+".txt"), out.String())
		})
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != got {
		t.Errorf("differs from %s:\n%s", name, got)
	}
}
