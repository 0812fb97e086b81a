package conversation

import (
	"regexp"
	"strings"
)

// byProgram is the mark, U+200E, that WhatsApp puts before what it writes itself into a message, in every language: a notice, what stands
// for a picture, or that the message was edited.
const byProgram = "\u200e"

var (
	// fileRE finds what stands for a picture or file, where the mark says that the program writes it.
	fileRE = regexp.MustCompile(`(?i)^(?:<[^<>]*>|(?:.{1,200}[•·] )?(?:\d+ \S+ )?\S+(?: \S+){0,2} (?:` + omitted + `)|\S.{0,200}\.\w{2,5} \([^()]+\))\.?$`)
	// bareFileRE finds it where the mark is lost, or is not written, as on Android.
	bareFileRE = regexp.MustCompile(`(?i)^(?:<[^<>]*>|(?:.{1,200}[•·] )?(?:\d+ \S+ )?(?:image|picture|photo|video|audio|sticker|gif|document|file|media|contact card|video note|` +
		`bild|foto|medien|dokument|datei|kontaktkarte|videonachricht|imagen|documento|vídeo|vidéo|immagine|imagem|áudio|afbeelding) (?:` + omitted +
		`)|\S.{0,200}\.\w{2,5} \((?:file attached|datei angehängt|archivo adjunto|fichier joint|file allegato|arquivo anexado|bestand bijgevoegd)\))\.?$`)
	// bareNoticeRE finds notices where the mark is lost.
	bareNoticeRE = regexp.MustCompile(`(?i)^(?:(?:this message was deleted|you deleted this message|diese nachricht wurde gelöscht|du hast diese nachricht gelöscht|` +
		`se eliminó este mensaje|eliminaste este mensaje|ce message a été supprimé|vous avez supprimé ce message|questo messaggio è stato eliminato|` +
		`hai eliminato questo messaggio|esta mensagem foi apagada|mensagem apagada|você apagou esta mensagem|dit bericht is verwijderd|` +
		`missed (?:group )?(?:voice|video) call|verpasster (?:sprach|video)anruf|waiting for this message\. this may take a while)\.?|` +
		`(?:messages|nachrichten|los mensajes|les messages|i messaggi|as mensagens|berichten)\b.{0,120}(?:end-to-end|ende-zu-ende|extremo a extremo|bout en bout|crittografat|ponta a ponta).*)$`)
	// deedRE finds what somebody does to a group, behind the name.
	deedRE = regexp.MustCompile(`^(?:added|removed|joined using|left$|created (?:this )?group|changed (?:the|this)|turned (?:on|off)|pinned a message|` +
		`(?:hat|haben) .*(?:hinzugefügt|entfernt|geändert|erstellt|verlassen)\.?$|(?:wurde|ist) .*(?:hinzugefügt|entfernt|beigetreten)\.?$)`)
	// editedRE finds the note that a message was edited.
	editedRE = regexp.MustCompile(`\s*\x{200e}?<(?:This message was edited|Diese Nachricht wurde bearbeitet)\.?>$`)
)

const omitted = `omitted|weggelassen|ausgelassen|ausgeschlossen|omitid[oa]s?|omise?s?|absente?|omess[oa]|ocultad[oa]|weggelaten|utelämnad|udeladt|utelatt|pominięto|опущен[оаы]?|пропущен[оаы]?`

// asWritten returns the end of a line with the marks of the program in it, which text is without.
func asWritten(line, text string) string {
	if !strings.Contains(line, byProgram) {
		return text
	}
	rest := line
	for range 6 { // the colons of the time and of the speaker
		_, after, ok := strings.Cut(rest, ":")
		if !ok {
			break
		}
		if written := strings.TrimPrefix(after, " "); invisible.Replace(written) == text {
			return written
		}
		rest = after
	}
	return text
}

// whatsApp reads the text of a message: its first line as written, and what follows, which is empty or begins with a line break. The
// program's own words go.
func (m *message) whatsApp(first, more string) {
	first = strings.TrimSpace(editedRE.ReplaceAllString(first, ""))
	more = editedRE.ReplaceAllString(strings.TrimRight(more, " \r\n"), "")
	plain := strings.TrimSpace(invisible.Replace(first))
	words, program, marked := strings.Cut(first, byProgram)
	program, words = strings.TrimSpace(invisible.Replace(program)), strings.TrimSpace(invisible.Replace(words))
	deed, own := strings.CutPrefix(plain, m.turn.Speaker+" ")
	switch {
	case marked && fileRE.MatchString(program) && (words == "" || strings.HasSuffix(words, "•")) || bareFileRE.MatchString(plain):
		m.files, plain = 1, "" // a caption may follow
	case marked && words == "":
		m.left = leftNotices
		return
	case marked && fileRE.MatchString(program):
		m.files, plain = 1, words // a caption before the picture
	case more == "" && (bareNoticeRE.MatchString(plain) || own && deedRE.MatchString(deed)):
		m.left = leftNotices
		return
	}
	if text, file, ok := strings.Cut(more, "\n"+byProgram); ok && fileRE.MatchString(strings.TrimSpace(invisible.Replace(file))) {
		m.files, more = m.files+1, text
	}
	if m.turn.Text = strings.TrimSpace(plain + more); m.turn.Text == "" {
		if m.left = leftEmpty; m.files > 0 {
			m.left = leftMedia
		}
	}
}
