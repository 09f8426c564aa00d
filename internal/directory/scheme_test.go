package directory

import (
	"errors"
	"strings"
	"testing"
)

// hashes of "geheim", made by Dovecot 2.3, OpenSSL 3, libxcrypt and Python's hashlib.
var geheim = []struct{ name, hash string }{
	{"argon2id", "{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=1$0zIjJLfNyYK9PTVoWhgJiA$uZmtqhayusZU6zudgd12dweIYXo+LSAksIIIvzSibnw"},
	{"argon2id bare", "$argon2id$v=19$m=65536,t=3,p=1$0zIjJLfNyYK9PTVoWhgJiA$uZmtqhayusZU6zudgd12dweIYXo+LSAksIIIvzSibnw"},
	{"bcrypt 2y", "{BLF-CRYPT}$2y$05$MZnO0ucYytA/7hD0pyrYu.Zxbb8nues/hIjk3kq5eHow9D2aIVWfq"},
	{"bcrypt 2b", "$2b$05$abcdefghijklmnopqrstuuVWu8RjbNovPZWAMRdd7iqaaG0mI53Uu"},
	{"scram", "{SCRAM-SHA-256}4096,cCs+EJZ1tCBuvCOK56O0uw==,8q1cBawmBn87yaZGcM0OzgltU3ZVlBt5b992Q3T5KtY=,72Mgmr9qDW/wvXAlAaEHFFKkeW0X3h6LpQjupJPmSVw="},
	{"sha512-crypt", "{SHA512-CRYPT}$6$b63ECaNWPHotdkd/$yTEr8SQCFNNJVQ7CRudcvSaPzVvu7IDHe34IcWbM4qFLa9sE7uiNBfuWfzDROXN7XyKufnh1cpxBt5ledxOaZ."},
	{"crypt", "{CRYPT}$6$b63ECaNWPHotdkd/$yTEr8SQCFNNJVQ7CRudcvSaPzVvu7IDHe34IcWbM4qFLa9sE7uiNBfuWfzDROXN7XyKufnh1cpxBt5ledxOaZ."},
	{"md5-crypt", "{MD5-CRYPT}$1$YdRnl0YM$KHqB/vUpZ6nV1mun6a8dY0"},
	{"Dovecot's MD5", "{MD5}$1$YdRnl0YM$KHqB/vUpZ6nV1mun6a8dY0"},
	{"ssha", "{SSHA}2Hv+WkhaRq35eiwps2Po39ZGEzpzYWx6"},
	{"ssha, small letters", "{ssha}2Hv+WkhaRq35eiwps2Po39ZGEzpzYWx6"},
	{"ssha256 hex", "{SSHA256.HEX}1bd193efd9ae2ceb5be28235ad48a61a3dbae97900be82f51e9ad528ee8802a573616c7a"},
	{"ssha512", "{SSHA512}Fxn+7Xrud198wCCBuQC4lcQ05A5vrHolXLhPBUHZV9AfdEOC8aCYx4M+dKBqGx/GGxY/zdfGoW3iG3+Cv7cYeHNhbHo="},
	{"smd5", "{SMD5}tSJ3v+aFW8zuJyNACovr7nNhbHo="},
	{"ldap md5", "{MD5}6GNuoBPmgvr2H1bOHLGrXA=="},
	{"plain-md5", "{PLAIN-MD5}e8636ea013e682faf61f56ce1cb1ab5c"},
	{"sha", "{SHA}kGByAB793z4R5tK1eC9Hd/4Dhzk="},
	{"sha256", "{SHA256}addb0f5e7826c857d7376d1bd9bc33c0c544790a2eac96144a8af22b1298c940"},
	{"sha512", "{SHA512}jYR+AdIrqpafcfo2K03iHJ4Tx4grzqE7pcaorg1x/IyXAMguAIemXIs3vSn1NnR/KMlnK+wcrndi0snza2AT8g=="},
}

func TestSchemes(t *testing.T) {
	wrong := []string{"Geheim", "", "geheim ", "geheimgeheim"}
	if testing.Short() {
		wrong = wrong[:1] // some of these hashes take a second each under the race detector
	}
	for _, test := range geheim {
		t.Run(test.name, func(t *testing.T) {
			v, err := parseHash(test.hash)
			if err != nil {
				t.Fatal(err)
			}
			if !v.verify([]byte("geheim")) {
				t.Error("the right password is refused")
			}
			for _, w := range wrong {
				if v.verify([]byte(w)) {
					t.Errorf("%q is taken", w)
				}
			}
		})
	}
}

// TestCryptVectors has the lengths and round counts at which the algorithms differ.
func TestCryptVectors(t *testing.T) {
	for _, test := range []struct{ password, hash string }{
		{"pässwort", "$1$saltsalt$1S78VCfk8mIU4hr3ydAGd1"},
		{"", "$1$xy$JSgu5Zv4igzK2ULm5nTM30"},
		{"Hello world!", "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5"},
		{"Hello world!", "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1"},
		{"Hello world!", "$6$rounds=10000$saltstringsaltst$OW1/O6BYHV6BcXZu8QVeXbDWra3Oeqh0sbHbbMCVNSnCM/UrjmM0Dp8vOuZeHBy/YTBmSK6H9qs/y3RnOaw5v."},
		{"a very much longer text to encrypt.  This one even stretches over morethan one line.",
			"$5$rounds=1400$anotherlongsalts$Rx.j8H.h8HjEDGomFU8bDkXm3XIUnzyxf12oP84Bnq1"},
	} {
		v, err := parseHash(test.hash)
		if err != nil || !v.verify([]byte(test.password)) {
			t.Errorf("%q: %s: %v", test.password, test.hash, err)
		}
	}
}

func TestOwnHash(t *testing.T) {
	h := newArgon([]byte("geheim")).String()
	v, err := parseHash(h)
	if err != nil || !v.current() || !v.verify([]byte("geheim")) || v.verify([]byte("x")) {
		t.Errorf("%s: %v", h, err)
	}
	if again := newArgon([]byte("geheim")).String(); again == h {
		t.Error("no salt")
	}
}

var badHashes = []string{
	"", "geheim", "{", "{}", "{SSHA", "{DES}xx", "{CRYPT}ab1234567890.", "{SSHA}", "{SSHA}AAAA", "{SHA}2Hv+WkhaRq35eiwps2Po39ZGEzpzYWx6",
	"{PLAIN-MD5}zz", "$1$", "$1$salt$short", "$5$salt$short", "$6$rounds=99999999$a$b", "$6$rounds=x$a$b", "$2b$31$abcdefghijklmnopqrstuuVWu8RjbNovPZWAMRdd7iqaaG0mI53Uu",
	"$2b$05$", "$argon2id$v=19$m=99999999,t=3,p=1$0zIjJLfNyYK9PTVoWhgJiA$uZmtqhayusZU6zudgd12dweIYXo+LSAksIIIvzSibnw",
	"$argon2id$v=16$m=65536,t=3,p=1$0zIjJLfNyYK9PTVoWhgJiA$uZmtqhayusZU6zudgd12dweIYXo", "$argon2id$v=19$m=8,t=1,p=1$$", "$argon2i$x",
	"{SCRAM-SHA-256}", "{SCRAM-SHA-256}0,AAAA,AAAA,AAAA", "{SCRAM-SHA-256}99999999,AAAA,AAAA,AAAA", "{SSHA}" + strings.Repeat("A", 5000),
}

func TestBadHashes(t *testing.T) {
	for _, h := range badHashes {
		if v, err := parseHash(h); !errors.Is(err, ErrInvalid) {
			t.Errorf("%.60q: %v %v", h, v, err)
		}
	}
}

func TestPlain(t *testing.T) {
	for hash, want := range map[string]string{"{PLAIN}geheim": "geheim", "{plain}x": "x", "{CLEARTEXT}": ""} {
		if p, ok := plainPassword(hash); !ok || p != want {
			t.Errorf("%s: %q %v", hash, p, ok)
		}
	}
	if _, ok := plainPassword("{PLAIN-MD5}x"); ok {
		t.Error("PLAIN-MD5 is not PLAIN")
	}
}

func FuzzParseHash(f *testing.F) {
	for _, h := range badHashes {
		f.Add(h)
	}
	for _, h := range geheim {
		f.Add(h.hash)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v, err := parseHash(s)
		if (err == nil) == (v == nil) || err != nil && !errors.Is(err, ErrInvalid) {
			t.Errorf("%v %v", v, err)
		}
	})
}
