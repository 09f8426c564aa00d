package telemetry_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"postroad/internal/telemetry"
)

// hidden is what must never be seen.
const hidden = "correct horse"

func TestSecretIsNotShown(t *testing.T) {
	type open struct{ Secret telemetry.Secret }
	type shut struct{ secret telemetry.Secret }
	s := telemetry.NewSecret(hidden)
	var shown bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%10s", "%p"} {
		fmt.Fprintf(&shown, verb+"\n", s)
		fmt.Fprintf(&shown, verb+"\n", &s)
		fmt.Fprintf(&shown, verb+"\n", open{s})
		fmt.Fprintf(&shown, verb+"\n", shut{s})
		fmt.Fprintf(&shown, verb+"\n", []telemetry.Secret{s})
	}
	fmt.Fprintln(&shown, fmt.Errorf("log in with %v", s))
	for _, format := range []string{"text", "json"} {
		log, err := telemetry.NewLogger(&shown, telemetry.LogOptions{Format: format})
		if err != nil {
			t.Fatal(err)
		}
		log.Info("event", "secret", s, "struct", open{s}, "pointer", &s, slog.Group("group", "secret", s), "any", []any{s})
	}
	if err := json.NewEncoder(&shown).Encode(map[string]any{"a": s, "b": open{s}, "c": &s}); err != nil {
		t.Fatal(err)
	}
	if err := toml.NewEncoder(&shown).Encode(open{s}); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{hidden, fmt.Sprintf("%x", hidden), fmt.Sprintf("%X", hidden)} {
		if strings.Contains(shown.String(), bad) {
			t.Errorf("the secret is shown: %s", shown.String())
		}
	}
	if n := strings.Count(shown.String(), "***"); n < 40 {
		t.Errorf("only %d times stars", n)
	}
}

func TestSecretReadsAndCompares(t *testing.T) {
	var config struct{ Password, Other telemetry.Secret }
	if _, err := toml.Decode(`Password = "correct horse"`, &config); err != nil {
		t.Fatal(err)
	}
	if config.Password.Reveal() != hidden || !config.Password.Equal(hidden) || config.Password.Equal("wrong") || config.Password.IsZero() {
		t.Error("the secret was not read as it is")
	}
	if !config.Other.IsZero() || config.Other.Reveal() != "" || config.Other.String() != "" || !config.Other.Equal("") {
		t.Error("an absent secret is not empty")
	}
}

func TestNewLogger(t *testing.T) {
	for _, c := range []struct {
		name string
		o    telemetry.LogOptions
		want string // of an info and a debug event
	}{
		{"default", telemetry.LogOptions{}, "level=INFO msg=one n=1\n"},
		{"text debug", telemetry.LogOptions{Format: "text", Level: "debug"}, "level=INFO msg=one n=1\nlevel=DEBUG msg=two\n"},
		{"json", telemetry.LogOptions{Format: "JSON", Level: "INFO"}, `"level":"INFO","msg":"one","n":1}` + "\n"},
		{"quiet", telemetry.LogOptions{Level: "error"}, ""},
	} {
		var out strings.Builder
		log, err := telemetry.NewLogger(&out, c.o)
		if err != nil {
			t.Fatal(err)
		}
		log.Info("one", "n", 1)
		log.Debug("two")
		var got strings.Builder
		for line := range strings.Lines(out.String()) {
			_, rest, found := strings.Cut(line, "level")
			if !found {
				t.Fatalf("%s: %q", c.name, line)
			}
			if c.o.Format == "JSON" {
				got.WriteString(`"`)
			}
			got.WriteString("level" + rest)
		}
		if got.String() != c.want {
			t.Errorf("%s: %q, want %q", c.name, got.String(), c.want)
		}
	}
	for _, o := range []telemetry.LogOptions{{Format: "xml"}, {Level: "loud"}} {
		if _, err := telemetry.NewLogger(&strings.Builder{}, o); err == nil {
			t.Errorf("%+v was taken", o)
		}
	}
}

// scrape gives what the handler serves.
func scrape(t *testing.T, m *telemetry.Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

func TestMetrics(t *testing.T) {
	m := telemetry.NewMetrics()
	m.Counter("mails_total", "Mails.").Add(3)
	m.Counters("replies_total", "Replies.", "class").WithLabelValues("2").Inc()
	m.Gauge("sessions", "Sessions.").Set(7)
	m.GaugeFunc("queue_mails", "Waiting.", func() float64 { return 5 })
	m.Seconds("commit", "Commits.", "kind").WithLabelValues("delivery").Observe(0.001)
	got := scrape(t, m)
	for _, want := range []string{
		"postroad_mails_total 3\n", `postroad_replies_total{class="2"} 1` + "\n", "postroad_sessions 7\n",
		"postroad_queue_mails 5\n", `postroad_commit_seconds_count{kind="delivery"} 1` + "\n", "go_goroutines ", "process_cpu_seconds_total ",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in what is served", want)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("a name was taken twice")
		}
	}()
	m.Gauge("sessions", "Again.")
}

func TestPebbleCollector(t *testing.T) {
	db, err := pebble.Open("store", &pebble.Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Set([]byte("k"), make([]byte, 10_000), pebble.Sync); err != nil {
		t.Fatal(err)
	}
	if err := db.Flush(); err != nil {
		t.Fatal(err)
	}
	m := telemetry.NewMetrics()
	m.Register(telemetry.PebbleCollector(db.Metrics))
	got := scrape(t, m)
	for _, want := range []string{"postroad_store_flushes_total 1\n", `postroad_store_level_bytes{level="6"}`, "postroad_store_wal_written_bytes_total 1"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in what is served", want)
		}
	}
	if strings.Contains(got, "postroad_store_disk_bytes 0\n") {
		t.Error("the store takes no room")
	}
}
