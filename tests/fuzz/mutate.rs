//! Inputs made of others: pieces changed, repeated, left out, put in and taken over from a neighbour, all by one seed.

/// Where chance comes from (SplitMix64).
pub struct Mutator {
    state: u64,
    words: &'static [&'static str],
}

/// No input gets longer.
const LONGEST: usize = 64 * 1024;

impl Mutator {
    pub fn new(seed: u64, words: &'static [&'static str]) -> Self {
        Self { state: seed, words }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % (end.max(1) as u64)) as usize
    }

    /// A piece of what is there, often a short one.
    fn piece(&mut self, input: &[u8]) -> std::ops::Range<usize> {
        let begin = self.below(input.len() + 1);
        let most = if self.below(4) == 0 { input.len() } else { 8 };
        let end = (begin + self.below(most + 1)).min(input.len());
        begin..end
    }

    /// One of the corpus, changed in a few places.
    pub fn input(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut input = corpus[self.below(corpus.len())].clone();
        for _ in 0..=self.below(4) {
            let piece = self.piece(&input);
            match self.below(9) {
                0 => drop(input.drain(piece)),
                1 => {
                    let copy = input[piece.clone()].to_vec();
                    for _ in 0..=self.below(3) {
                        input.splice(piece.end..piece.end, copy.iter().copied());
                    }
                }
                2 => {
                    let byte = self.next() as u8;
                    input.splice(piece, [byte]);
                }
                3 if !input.is_empty() => {
                    let at = self.below(input.len());
                    input[at] ^= 1 << self.below(8);
                }
                4 | 5 => {
                    let word = self.words[self.below(self.words.len())];
                    let over = if self.below(2) == 0 {
                        piece.clone()
                    } else {
                        piece.start..piece.start
                    };
                    input.splice(over, word.bytes());
                }
                6 => {
                    let other = &corpus[self.below(corpus.len())];
                    let taken = self.piece(other);
                    input.splice(piece, other[taken].iter().copied());
                }
                7 => {
                    // A line takes another's place: what is right by itself, where it may be wrong.
                    let mut lines: Vec<Vec<u8>> = input
                        .split_inclusive(|byte| *byte == b'\n')
                        .map(<[u8]>::to_vec)
                        .collect();
                    let (one, other) = (self.below(lines.len()), self.below(lines.len()));
                    if !lines.is_empty() {
                        lines.swap(one, other);
                        input = lines.concat();
                    }
                }
                _ => {
                    if let Some(at) = input.iter().position(u8::is_ascii_digit) {
                        let number = [
                            "0",
                            "1",
                            "2",
                            "9",
                            "10",
                            "00",
                            "-1",
                            "65536",
                            "ffffffff",
                            "18446744073709551615",
                        ];
                        let number = number[self.below(number.len())];
                        input.splice(at..=at, number.bytes());
                    }
                }
            }
            input.truncate(LONGEST);
        }
        input
    }
}
