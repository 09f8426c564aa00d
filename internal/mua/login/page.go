package login

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"html/template"
	"net/http"
	"net/url"
	"strings"

	"postroad/internal/mua/jmapd/access"
)

// view is what a page shows.
type view struct {
	Service   string
	Ask       *ask
	Ticket    string
	Wrong     string // what was wrong with the last try
	Text      string
	Login     string
	LoginPage string
	Onward    string
	Back      template.URL // to the program: CheckRedirect let its scheme through
}

// scopeWords are what the scopes let a program do, for people.
var scopeWords = map[string]string{
	access.ScopeMail:      "read, change, delete and send your mail",
	access.ScopeContacts:  "read and change your contacts",
	access.ScopeCalendars: "read and change your calendars",
}

// Program is what the client calls itself.
func (a *ask) Program() string {
	if a.Name == "" {
		return "A program without a name"
	}
	return a.Name
}

// Target is where the answer goes, as far as it tells a person something.
func (a *ask) Target() string {
	u, err := url.Parse(a.Redirect)
	if err != nil {
		return ""
	}
	switch {
	case u.Scheme == "https":
		return u.Host
	case u.Scheme == "http":
		return "a program on this computer"
	}
	return "the app " + u.Scheme
}

// Words say what the program may do.
func (a *ask) Words() []string {
	var list []string
	for _, s := range a.Scopes {
		list = append(list, scopeWords[s])
	}
	if a.Offline {
		list = append(list, "do so while you are away, until you end it")
	}
	return list
}

const pageHead = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
{{if .Onward}}<meta http-equiv="refresh" content="0;url={{.Onward}}">{{end}}
<title>{{.Service}}</title>
<style>` + style + `</style>
</head>
<body>
<main>
<p>{{.Service}}</p>
`

const style = `:root{color-scheme:light dark}
body{font:16px/24px system-ui,sans-serif;margin:0}
main{max-width:26rem;margin:10vh auto;padding:0 1rem}
h1{font-size:20px;line-height:28px}
label{display:block;margin:1rem 0 .25rem}
input{font:inherit;box-sizing:border-box;width:100%;padding:.5rem}
button{font:inherit;padding:.5rem 1.25rem;margin:1.25rem .5rem 0 0;min-height:44px}
.wrong{border-left:4px solid #b42323;padding-left:.75rem}`

const pageTail = `</main>
</body>
</html>
`

func newPage(body string) *template.Template {
	return template.Must(template.New("page").Parse(pageHead + body + pageTail))
}

var (
	pageError = newPage(`<h1>This did not work</h1>
<p role="alert">{{.Text}}.</p>
`)
	pageBack = newPage(`<h1>This did not work</h1>
<p role="alert">The program's request is not one that can be answered: {{.Text}}.</p>
<p><a href="{{.Back}}" rel="noreferrer">Tell <bdi>{{.Ask.Target}}</bdi> and leave this page</a></p>
`)
	pageOnward = newPage(`<h1>One moment</h1>
<p><a href="{{.Onward}}">Go on</a></p>
`)
	pageEnter = newPage(`<h1>Log in</h1>
<p><bdi>{{.Ask.Program}}</bdi> asks for access to your account.</p>
{{if .Wrong}}<p class="wrong" role="alert">{{.Wrong}}.</p>{{end}}
<form method="post" action="` + pathEnter + `">
<input type="hidden" name="ticket" value="{{.Ticket}}">
<label for="user">Address</label>
<input id="user" name="user" type="email" autocomplete="username" autocapitalize="none" required autofocus>
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password" required>
<button>Log in</button>
</form>
<p>With a passkey: <a href="{{.LoginPage}}">log in to the web mail</a> first, then begin again in the program.</p>
`)
	pageCode = newPage(`<h1>One more step</h1>
{{if .Wrong}}<p class="wrong" role="alert">{{.Wrong}}.</p>{{end}}
<form method="post" action="` + pathCode + `">
<input type="hidden" name="ticket" value="{{.Ticket}}">
<label for="code">Code of your authenticator, or a recovery code</label>
<input id="code" name="code" autocomplete="one-time-code" autocapitalize="none" required autofocus>
<button>Go on</button>
</form>
<p>With a passkey: <a href="{{.LoginPage}}">log in to the web mail</a> first, then begin again in the program.</p>
`)
	pageConsent = newPage(`<h1>Allow <bdi>{{.Ask.Program}}</bdi>?</h1>
<p>You are logged in as <bdi>{{.Login}}</bdi>. If you allow it, the program may</p>
<ul>{{range .Ask.Words}}
<li>{{.}}</li>{{end}}
</ul>
<p>The answer goes to <strong><bdi>{{.Ask.Target}}</bdi></strong>.
{{if not .Ask.Known}}The program gave this name itself; nobody has checked it.{{end}}
You can end this at any time in the settings of the web mail.</p>
<form method="post" action="` + pathConsent + `">
<input type="hidden" name="ticket" value="{{.Ticket}}">
<button name="answer" value="yes">Allow</button>
<button name="answer" value="no">Cancel</button>
</form>
`)
)

// page shows a page. Its policy lets it send forms to us and, from there, be sent on to the
// program: browsers hold the redirect to the same list.
func (g *Gate) page(w http.ResponseWriter, r *http.Request, status int, t *template.Template, v view) {
	v.Service = g.o.Name
	var text bytes.Buffer
	if err := t.Execute(&text, v); err != nil {
		g.o.Log.Error("login: a page", "error", err)
		http.Error(w, "our fault; try again later", http.StatusInternalServerError)
		return
	}
	forms := "'self'"
	if v.Ask != nil {
		forms += " " + sourceOf(v.Ask.Redirect)
	}
	h := w.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'sha256-"+styleHash+"'; form-action "+forms+"; base-uri 'none'; frame-ancestors 'none'")
	if status == http.StatusUnauthorized { // RFC 9110, 15.5.2; without a window for Basic
		h.Set("WWW-Authenticate", `Bearer resource_metadata="`+g.o.Origin+pathResource+`"`)
	}
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	w.Write(text.Bytes())
}

// sourceOf is a redirect URI as a policy names it. What could end the policy's list cannot
// be in it: CheckRedirect lets no space and the host no semicolon through.
func sourceOf(redirect string) string {
	u, err := url.Parse(redirect)
	if err != nil || strings.ContainsAny(u.Host, ";, ") {
		return ""
	}
	if u.Host == "" {
		return u.Scheme + ":"
	}
	return u.Scheme + "://" + u.Host
}

// failPage is our fault.
func (g *Gate) failPage(w http.ResponseWriter, r *http.Request, err error) {
	g.o.Log.Error("login: a request failed", "error", err)
	g.page(w, r, http.StatusInternalServerError, pageError, view{Text: "our fault; try again later"})
}

// styleHash names the style in the policy, so that no other is taken.
var styleHash = func() string {
	sum := sha256.Sum256([]byte(style))
	return base64.StdEncoding.EncodeToString(sum[:])
}()
