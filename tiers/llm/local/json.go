package local

import "strings"

// jsonText is how far a text has got that is to be one JSON object (RFC 8259), followed byte by byte. The zero value is
// the empty text. It is a plain value: a copy is another branch.
type jsonText struct {
	state  jsonState
	depth  uint8
	object [maxDepth]bool // of the open containers, outermost first: whether it is an object
	rest   string         // what remains of a literal such as true
	digits uint8          // of \u, how many are to come
	key    bool           // the string being read is a key
	spaces uint8          // white space just read
}

// The bounds keep a model from opening brackets or writing blanks for ever.
const (
	maxDepth  = 64
	maxSpaces = 64
)

type jsonState uint8

const (
	jsonStart     jsonState = iota // nothing read
	jsonFirstKey                   // { was read
	jsonKey                        // a comma in an object
	jsonColon                      // a key
	jsonFirstItem                  // [ was read
	jsonValue                      // a colon, or a comma in an array
	jsonAfter                      // a value inside a container
	jsonString
	jsonEscape
	jsonHex
	jsonLiteral
	jsonMinus // from here on parts of a number
	jsonZero
	jsonInt
	jsonDot
	jsonFraction
	jsonExp
	jsonSign
	jsonExponent
	jsonDone
)

// done reports whether the object is complete.
func (j *jsonText) done() bool { return j.state == jsonDone }

// extend reads text, and reports false if no JSON object continues like this; j must not be used afterwards.
func (j *jsonText) extend(text []byte) bool {
	for _, c := range text {
		if !j.read(c) {
			return false
		}
	}
	return true
}

func (j *jsonText) read(c byte) bool {
	switch j.state {
	case jsonString, jsonEscape, jsonHex:
		return j.readString(c)
	case jsonLiteral:
		if j.rest[0] != c {
			return false
		}
		if j.rest = j.rest[1:]; j.rest == "" {
			j.state = jsonAfter
		}
		return true
	}
	if j.state >= jsonMinus && j.state <= jsonExponent {
		next, ok := number(j.state, c)
		if ok {
			j.state = next
			return true
		}
		switch j.state {
		case jsonZero, jsonInt, jsonFraction, jsonExponent: // a number may end here
			j.state = jsonAfter
		default:
			return false
		}
	}
	if strings.IndexByte(" \t\n\r", c) >= 0 {
		j.spaces++
		return j.spaces <= maxSpaces && j.state != jsonStart
	}
	j.spaces = 0
	return j.readStructure(c)
}

func (j *jsonText) readStructure(c byte) bool {
	switch j.state {
	case jsonStart:
		return c == '{' && j.open(c)
	case jsonFirstKey, jsonKey:
		if c == '}' && j.state == jsonFirstKey {
			return j.close()
		}
		j.state, j.key = jsonString, true
		return c == '"'
	case jsonColon:
		j.state = jsonValue
		return c == ':'
	case jsonFirstItem, jsonValue:
		if c == ']' && j.state == jsonFirstItem {
			return j.close()
		}
		return j.startValue(c)
	case jsonAfter:
		inObject := j.object[j.depth-1]
		switch {
		case c == ',' && inObject:
			j.state = jsonKey
		case c == ',':
			j.state = jsonValue
		case c == '}' && inObject, c == ']' && !inObject:
			return j.close()
		default:
			return false
		}
		return true
	}
	return false // after the end
}

func (j *jsonText) startValue(c byte) bool {
	switch c {
	case '{', '[':
		return j.open(c)
	case '"':
		j.state, j.key = jsonString, false
	case 't':
		j.state, j.rest = jsonLiteral, "rue"
	case 'f':
		j.state, j.rest = jsonLiteral, "alse"
	case 'n':
		j.state, j.rest = jsonLiteral, "ull"
	case '-':
		j.state = jsonMinus
	case '0':
		j.state = jsonZero
	default:
		j.state = jsonInt
		return c >= '1' && c <= '9'
	}
	return true
}

func (j *jsonText) open(c byte) bool {
	if j.depth == maxDepth {
		return false
	}
	j.object[j.depth] = c == '{'
	j.depth++
	j.state = jsonFirstItem
	if c == '{' {
		j.state = jsonFirstKey
	}
	return true
}

func (j *jsonText) close() bool {
	j.depth--
	j.state = jsonAfter
	if j.depth == 0 {
		j.state = jsonDone
	}
	return true
}

func (j *jsonText) readString(c byte) bool {
	switch {
	case j.state == jsonHex:
		if j.digits--; j.digits == 0 {
			j.state = jsonString
		}
		return isDigit(c) || c|0x20 >= 'a' && c|0x20 <= 'f'
	case j.state == jsonEscape && c == 'u':
		j.state, j.digits = jsonHex, 4
	case j.state == jsonEscape:
		j.state = jsonString
		return strings.IndexByte(`"\/bfnrt`, c) >= 0
	case c == '\\':
		j.state = jsonEscape
	case c == '"' && j.key:
		j.state = jsonColon
	case c == '"':
		j.state = jsonAfter
	default:
		return c >= 0x20
	}
	return true
}

// number returns the state after c within a number; false if c cannot continue it.
func number(s jsonState, c byte) (jsonState, bool) {
	switch {
	case s == jsonMinus && c == '0':
		return jsonZero, true
	case isDigit(c):
		switch s {
		case jsonMinus, jsonInt:
			return jsonInt, true
		case jsonDot, jsonFraction:
			return jsonFraction, true
		case jsonExp, jsonSign, jsonExponent:
			return jsonExponent, true
		}
	case c == '.' && (s == jsonZero || s == jsonInt):
		return jsonDot, true
	case c|0x20 == 'e' && (s == jsonZero || s == jsonInt || s == jsonFraction):
		return jsonExp, true
	case (c == '+' || c == '-') && s == jsonExp:
		return jsonSign, true
	}
	return 0, false
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
