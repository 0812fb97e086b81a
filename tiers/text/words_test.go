package text

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/text/unicode/norm"
)

func TestTokens(t *testing.T) {
	for s, want := range map[string][]string{
		"Ann’s dog isn't 3 years-old!":         {"Ann", "dog", "isn't", "3", "years", "old"},
		"'quoted' JAMES'S café, naïve":         {"quoted", "JAMES", "café", "naïve"},
		"":                                     {},
		" '' 's ":                              {"s"},
		"rock'n'roll of the 90's":              {"rock'n'roll", "of", "the", "90"},
		"cafe\u0301":                           {"café"}, // a letter and its accent, as macOS writes them
		"ＡＢＣ１２ ﬁne":                            {"ABC12", "fine"},
		"ﾈｺ ｶﾞﾗｽ":                              {"ネコ", "ガラス"},
		"\u1112\u1161\u11ab\u1100\u1173\u11af": {"한글"},
		"日本 2023/05/20 \U0001F600 x":           {"日", "日本", "本", "2023", "05", "20", "x"},
		"我养了一只猫，名字叫小黑":                         {"我", "我养", "养", "养了", "了", "了一", "一", "一只", "只", "只猫", "猫", "名", "名字", "字", "字叫", "叫", "叫小", "小", "小黑", "黑"},
		"iPhone15を買った":                         {"iPhone15", "を買", "買", "買っ", "った"},
		"コーヒーが好き":                              {"コーヒー", "コーヒーが", "が好", "好", "好き"},
		"แมวชื่อ":                              {"แม", "มว", "วชื่", "ชื่อ"},
		"고양이가 있어요":                             {"고양", "양이", "이가", "있어", "어요"},
		"猫":                                    {"猫"},
	} {
		if got := Tokens(s); !slices.Equal(got, want) {
			t.Errorf("%q: got %q, want %q", s, got, want)
		}
	}
	if got := English.ContentWords("What did the dog's owner say about O'Brien's?"); !slices.Equal(got, []string{"dog", "owner", "say", "o'brien"}) {
		t.Errorf("got %q", got)
	}
}

func TestDetect(t *testing.T) {
	for want, s := range map[Language]string{
		English: "I moved to Bern last week with my cat, and it is still looking for a place that it likes.",
		"de":    "Ich bin letzte Woche mit meiner Katze nach Bern gezogen, und sie sucht noch immer einen Platz, der ihr gefällt.",
		"fr":    "J'ai déménagé à Berne la semaine dernière avec mon chat, et il cherche encore une place qui lui plaît.",
		"es":    "Me mudé a Berna la semana pasada con mi gato, y todavía está buscando un sitio que le guste.",
		"ru":    "На прошлой неделе я переехала в Берн со своей кошкой, и она всё ещё ищет место, которое ей нравится.",
		"pl":    "W zeszłym tygodniu przeprowadziłam się do Berna z moim kotem, a on ciągle szuka miejsca, które mu się podoba.",
		"zh":    "我上周带着我的猫搬到了伯尔尼，它还在找一个喜欢的地方。",
		"ja":    "先週、猫と一緒にベルンへ引っ越しました。猫はまだ気に入る場所を探しています。",
		"ko":    "지난주에 고양이와 함께 베른으로 이사했는데, 고양이는 아직 마음에 드는 곳을 찾고 있어요.",
		"th":    "สัปดาห์ที่แล้วฉันย้ายไปเบิร์นกับแมวของฉัน และมันยังหาที่ที่ชอบอยู่",
		Unknown: "Wiki iliyopita nilihamia Bern pamoja na paka wangu, naye bado anatafuta mahali anapopapenda huko mjini.",
	} {
		if got := Detect(slices.Values([]string{s})); got != want {
			t.Errorf("%s: detected %s", want, got)
		}
	}
	for _, few := range [][]string{nil, {""}, {"OK"}, {"42", "?!"}, {"data structures"}} {
		if got := Detect(slices.Values(few)); got != English {
			t.Errorf("%q: detected %s", few, got)
		}
	}
}

func TestLanguage(t *testing.T) {
	for _, tt := range []struct {
		l    Language
		a, b string
	}{{English, "camped", "camping"}, {"de", "umgezogen", "umgezogene"}, {"es", "gatos", "gato"}, {"ru", "кошка", "кошкой"}} {
		if tt.l.Stem(tt.a) != tt.l.Stem(tt.b) {
			t.Errorf("%s: %q and %q have the stems %q and %q", tt.l, tt.a, tt.b, tt.l.Stem(tt.a), tt.l.Stem(tt.b))
		}
	}
	for l, w := range map[Language]string{English: "the", "de": "und", "ru": "она", "zh": "的", "ja": "です"} {
		if !l.IsStop(w) {
			t.Errorf("%s: %q is no stop word", l, w)
		}
	}
	for l, says := range map[Language]string{English: "", "de": "", "zh": "", "pl": "Polish", Unknown: "not recognised"} {
		if got := l.Limits(); !strings.Contains(got, says) || (got == "") != (says == "") {
			t.Errorf("%s: limits %q", l, got)
		}
	}
	for l := range stopwordsOf() {
		if l.String() == string(l) {
			t.Errorf("language %q has no name", l)
		}
	}
}

// FuzzTokens checks that any text is cut into words without spaces, the same ones in both ways, that only pairs repeat a part
// of it, and that languages take any word.
func FuzzTokens(f *testing.F) {
	for _, s := range []string{"Ann’s dog", "我养了一只猫", "コーヒーが好き", "แมวชื่อ", "\xff\u0301'ー'", "กํา ก\u200b", "ﬃ İ"} {
		f.Add(s)
	}
	f.Add("'quoted' JAMES'S @[`{ 90's '''s 's' \x00\x7f it's'")
	f.Fuzz(func(t *testing.T, s string) {
		if quick, ok := asciiTokens(s); ok && !slices.Equal(quick, anyTokens(s)) {
			t.Fatalf("%q: as ASCII %q, else %q", s, quick, anyTokens(s))
		}
		total := 0
		for _, w := range Tokens(s) {
			if w == "" || strings.ContainsAny(w, " \t\n") {
				t.Fatalf("%q: word %q", s, w)
			}
			total += len(w)
			for l := range languageNames {
				l.IsStop(w)
				l.Stem(w)
			}
		}
		if total > 3*len(norm.NFKC.String(strings.ToValidUTF8(s, "\ufffd"))) { // a sign such as ㌍ stands for several letters
			t.Fatalf("%q: words of %d bytes together", s, total)
		}
		Detect(slices.Values([]string{s}))
	})
}
