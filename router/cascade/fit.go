package cascade

import (
	"errors"
	"fmt"
	"slices"

	"github.com/budgetmem/budgetmem/router/confidence"
)

// Measurement holds the answers of several readers to one question from the same notes.
type Measurement struct {
	// Question identifies the question; several measurements of one have different notes. History is what it is about; "" if that is its
	// own.
	Question, History string
	// Dollars is the price of the notes.
	Dollars float64
	// Answers has one entry for each reader, nil for those that were not asked.
	Answers []*Measure
}

// Measure is an answer with its score in [0, 1] and its price in dollars.
type Measure struct {
	Signals confidence.Signals
	Score   float64
	Dollars float64
}

// Play replays a cascade on a measurement, from a first reader on: the score of the last answer, and the dollars of the notes
// and of all answers. It returns false if a reader that is asked was not measured.
func (c *Calibration) Play(m Measurement, first int, lambda float64) (score, dollars float64, ok bool) {
	dollars = m.Dollars
	var asked []Asked
	for reader, more := first, true; more; {
		a := m.Answers[reader]
		if a == nil {
			return 0, 0, false
		}
		asked, dollars = append(asked, Asked{reader, a.Signals}), dollars+a.Dollars
		score = a.Score
		reader, more = c.Next(asked, lambda, dollars)
	}
	return score, dollars, true
}

// ErrNoSignals means that a reader's answers come without signals: nothing can be told of them.
var ErrNoSignals = errors.New("the answers come without signals")

// Fit fits the estimates of readers: the weights to train, the isotonic functions to validation; without train both to validation, where
// they are regressions alone (see confidence.Regress). names are the signals to use, of which each reader has those that its
// answers come with; without names, all that nine tenths of a reader's answers have. A name that no answer has is an error, and so is a
// reader whose answers have none of them. Readers have their names set; prices, estimates and measures are filled in.
// A reader without answers or signals is an ErrNoSignals or a confidence.ErrTooFew that names it; where too few questions were
// answered by two readers from the same notes, their gain is left out.
func Fit(readers []Reader, train, validation []Measurement, reward *Reward, names []string) (*Calibration, error) {
	c := &Calibration{Format: Format, Version: Version, Readers: slices.Clone(readers), Reward: reward}
	crossed, weighed := len(train) == 0, train
	if crossed {
		weighed = validation
	}
	if err := known(names, weighed); err != nil {
		return nil, err
	}
	fit := func(of func([]Measurement) []confidence.Sample, loss confidence.Loss) (*confidence.Estimate, error) {
		names := names
		if some := among(names, confidence.Names(of(weighed))); len(some) > 0 {
			names = some
		}
		if crossed {
			return confidence.Regress(of(validation), names, loss)
		}
		return confidence.Fit(of(train), of(validation), names, loss)
	}
	for i := range c.Readers {
		r := &c.Readers[i]
		answers := func(of []Measurement) []confidence.Sample { return samples(of, i) }
		fitted := answers(weighed)
		fail := func(err error) error {
			if r.Model == "" {
				return fmt.Errorf("calibrate reader %q: %w", r.Tier, err)
			}
			return fmt.Errorf("calibrate reader %q of %s: %w", r.Tier, r.Model, err)
		}
		there := confidence.Names(fitted)
		if len(there) == 0 && len(fitted) > 0 {
			return nil, fail(ErrNoSignals)
		}
		if len(names) > 0 && len(there) > 0 && len(among(names, there)) == 0 {
			return nil, fail(fmt.Errorf("its answers have none of the signals %q, but %q", names, there))
		}
		var err error
		if r.Score, err = fit(answers, confidence.Logistic); err != nil {
			return nil, fail(err)
		}
		r.Dollars = meanDollars(slices.Concat(train, validation), i)
		if r.Measured, err = measured(r.Score, validation, i, crossed); err != nil {
			return nil, fail(err)
		}
		r.Measured.Fitted = len(fitted)
	}
	for i := range c.Readers {
		for j := i + 1; j < len(c.Readers); j++ {
			gain, err := fit(func(of []Measurement) []confidence.Sample { return gains(of, i, j) }, confidence.Squared)
			if errors.Is(err, confidence.ErrTooFew) {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("calibrate reader %q after %q: %w", c.Readers[j].Tier, c.Readers[i].Tier, err)
			}
			if c.Readers[i].Gains == nil {
				c.Readers[i].Gains = map[string]*confidence.Estimate{}
			}
			c.Readers[i].Gains[c.Readers[j].Tier] = gain
		}
	}
	return c, c.Check()
}

// leastOfKind is how many answers to questions of each kind it takes to tell them apart.
const leastOfKind = 10

// FitAnswerable fits each reader's Answerable to its answers to questions that the memory answers and to ones that it does not. names are
// the signals to use, as in Fit. Readers without answers to both kinds have none; too few of them are a confidence.ErrTooFew.
func (c *Calibration) FitAnswerable(answerable, unanswerable []Measurement, names []string) error {
	for i := range c.Readers {
		r := &c.Readers[i]
		r.Answerable = nil
		some, none := scored(samples(answerable, i), 1), scored(samples(unanswerable, i), 0)
		if len(some) == 0 || len(none) == 0 {
			continue
		}
		usable := confidence.Usable(append(slices.Clone(some), none...), some, none)
		if len(names) > 0 {
			usable = among(names, usable)
		}
		some, none = confidence.Complete(some, usable), confidence.Complete(none, usable)
		err := fmt.Errorf("%w: %d of answerable questions and %d of others have %q", confidence.ErrTooFew, len(some), len(none), usable)
		if len(usable) > 0 && min(len(some), len(none)) >= leastOfKind {
			r.Answerable, err = confidence.Regress(append(some, none...), usable, confidence.Logistic)
		}
		if err != nil {
			return fmt.Errorf("calibrate whether questions of reader %q are answerable: %w", r.Tier, err)
		}
	}
	return nil
}

// known returns an error for a signal that no answer has.
func known(names []string, of []Measurement) error {
	var all []confidence.Sample
	for _, m := range of {
		for _, a := range m.Answers {
			if a != nil {
				all = append(all, confidence.Sample{Signals: a.Signals})
			}
		}
	}
	there := confidence.Names(all)
	for _, name := range names {
		if len(there) > 0 && !slices.Contains(there, name) {
			return fmt.Errorf("no answer has the signal %q; there are %q", name, there)
		}
	}
	return nil
}

// among returns the names that are there.
func among(names, there []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !slices.Contains(there, name) })
}

func samples(of []Measurement, reader int) []confidence.Sample {
	var out []confidence.Sample
	for _, m := range of {
		if a := m.Answers[reader]; a != nil {
			out = append(out, confidence.Sample{Signals: a.Signals, Score: a.Score, Group: m.Question})
		}
	}
	return out
}

// scored gives all samples a score.
func scored(all []confidence.Sample, score float64) []confidence.Sample {
	for k := range all {
		all[k].Score = score
	}
	return all
}

func meanDollars(of []Measurement, reader int) float64 {
	sum, n := 0.0, 0.0
	for _, m := range of {
		if a := m.Answers[reader]; a != nil {
			sum, n = sum+a.Dollars, n+1
		}
	}
	return sum / max(n, 1)
}

// gains are the differences that asking one reader after another made.
func gains(of []Measurement, first, second int) []confidence.Sample {
	var out []confidence.Sample
	for _, m := range of {
		a, b := m.Answers[first], m.Answers[second]
		if a == nil || b == nil {
			continue
		}
		out = append(out, confidence.Sample{Signals: a.Signals, Score: b.Score - a.Score, Group: m.Question})
	}
	return out
}

// measured measures an estimate by two halves of the histories, or of the questions if there is one history: each half is judged by an
// isotonic function fitted to the other one, or where the weights were fitted to the same questions (crossed) by an estimate of its own.
func measured(e *confidence.Estimate, of []Measurement, reader int, crossed bool) (Measured, error) {
	var m Measured
	halves := half(samples(of, reader), of)
	for _, h := range halves {
		for _, s := range confidence.Complete(h, e.Signals) {
			m.Calibrated++
			m.Score += s.Score
		}
	}
	m.Score /= float64(max(m.Calibrated, 1))
	var confidences, scores []float64
	var right []bool
	for h, others := range [2][]confidence.Sample{halves[1], halves[0]} {
		held := confidence.Complete(halves[h], e.Signals)
		if len(held) == 0 {
			continue
		}
		again, err := e.Recalibrate(others)
		if crossed {
			if fresh, unfit := confidence.Regress(others, e.Signals, confidence.Logistic); !errors.Is(unfit, confidence.ErrTooFew) {
				again, err = fresh, unfit
			}
		}
		if err != nil {
			return m, err
		}
		for _, s := range held {
			v, _ := again.Value(s.Signals) // it has all that e needs
			confidences, scores, right = append(confidences, min(max(v, 0), 1)), append(scores, s.Score), append(right, s.Score >= 0.5)
		}
	}
	if auroc, err := confidence.AUROC(confidences, right); err == nil { // else all are right or all wrong
		m.AUROC = &auroc
	}
	var err error
	m.CalibrationError, err = confidence.CalibrationError(confidences, scores, confidence.Bins)
	return m, err
}

// half divides samples into two halves by the histories that the questions of measurements are about, or by question.
func half(all []confidence.Sample, of []Measurement) (halves [2][]confidence.Sample) {
	history := map[string]string{}
	histories := map[string]bool{}
	for _, m := range of {
		history[m.Question] = m.History
		histories[m.History] = true
	}
	at := map[string]int{}
	for _, s := range all {
		by := history[s.Group]
		if len(histories) < 2 || by == "" {
			by = s.Group
		}
		n, seen := at[by]
		if !seen {
			n = len(at) % 2
			at[by] = n
		}
		halves[n] = append(halves[n], s)
	}
	return halves
}
