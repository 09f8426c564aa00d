package jmap

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// fileNameMax is the longest file name that is told, in octets.
const fileNameMax = 200

// extensionMax is the longest end of a long file name that is kept, in octets.
const extensionMax = 20

// mediaTypeMax is the longest media type with parameters, in octets.
const mediaTypeMax = 255

// attachment is a Content-Disposition (RFC 6266, 4.1): never inline, with the name in ASCII
// for old clients and in full (RFC 8187) beside it.
func attachment(name string) string {
	name = fileName(name)
	var plain, full strings.Builder
	exact := true
	for _, r := range name {
		if r < ' ' || r > '~' || r == '"' || r == '\\' || r == '%' {
			plain.WriteByte('_')
			exact = false
			continue
		}
		plain.WriteRune(r)
	}
	out := `attachment; filename="` + plain.String() + `"`
	if exact {
		return out
	}
	for _, c := range []byte(name) {
		if c < utf8.RuneSelf && (unicode.IsLetter(rune(c)) || unicode.IsDigit(rune(c)) || strings.IndexByte("!#$&+-.^_`|~", c) >= 0) {
			full.WriteByte(c)
			continue
		}
		const hex = "0123456789ABCDEF"
		full.Write([]byte{'%', hex[c>>4], hex[c&15]})
	}
	return out + "; filename*=UTF-8''" + full.String()
}

// fileName makes a name that is one of a file and nothing else: no folder, nothing hidden,
// no characters that are not seen or that turn the others around.
func fileName(name string) string {
	name = strings.Map(func(r rune) rune {
		switch {
		case r == '/' || r == '\\' || r == ':' || r == '*' || r == '?' || r == '<' || r == '>' || r == '|' || r == '"':
			return '_'
		case r == utf8.RuneError || unicode.Is(unicode.C, r):
			return -1 // controls, formats such as U+202E, private use
		case unicode.IsSpace(r):
			return ' '
		}
		return r
	}, strings.ToValidUTF8(name, ""))
	name = strings.TrimLeft(strings.TrimRight(name, " ."), " .")
	if len(name) > fileNameMax {
		extension := "" // it says what kind of file it is: it stays
		if dot := strings.LastIndexByte(name, '.'); dot >= len(name)-extensionMax {
			extension = name[dot:]
		}
		cut := fileNameMax - len(extension)
		for !utf8.RuneStart(name[cut]) {
			cut--
		}
		name = name[:cut] + extension
	}
	if name == "" {
		return "download"
	}
	return name
}

// mediaType reads a media type (RFC 6838, 4.2; RFC 9110, 8.3.1) with parameters.
func mediaType(s string) (string, bool) {
	if len(s) > mediaTypeMax {
		return "", false
	}
	kind, parameters, _ := strings.Cut(s, ";")
	kind = strings.ToLower(strings.TrimSpace(kind))
	top, sub, ok := strings.Cut(kind, "/")
	if !ok || !token(top) || !token(sub) {
		return "", false
	}
	for _, p := range strings.Split(parameters, ";") {
		name, value, ok := strings.Cut(strings.TrimSpace(p), "=")
		value = strings.TrimSuffix(strings.TrimPrefix(value, `"`), `"`)
		if ok && token(name) && token(value) {
			kind += "; " + strings.ToLower(name) + "=" + value
		}
	}
	return kind, true
}

// token tells whether s is a token (RFC 9110, 5.6.2).
func token(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !(c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0) {
			return false
		}
	}
	return s != ""
}

// safeType is the media type that a client asks for, but for those that a browser would run
// or read further files for; it is unknownType then.
func safeType(asked string) string {
	kind, ok := mediaType(asked)
	if !ok {
		return unknownType
	}
	bare, _, _ := strings.Cut(kind, ";")
	top, sub, _ := strings.Cut(bare, "/")
	if top == "multipart" || strings.HasSuffix(sub, "xml") || strings.Contains(sub, "html") || strings.Contains(sub, "script") ||
		strings.Contains(sub, "xsl") || strings.Contains(sub, "flash") || sub == "css" || sub == "wasm" || sub == "cache-manifest" ||
		sub == "manifest+json" || sub == "event-stream" {
		return unknownType
	}
	return kind
}
