"""The tokenizer and the vocabulary, by hand."""

import pytest

from repro.data.tokens import PADDING, UNKNOWN, Vocabulary, tokenize


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Don't GO!<br />10/10", ["don't", "go", "!", "10", "/", "10"]),
        ("one<br>two<BR/>three< br>", ["one", "two", "three", "<", "br", ">"]),
        ("'tis rock'n'roll, boys'", ["'", "tis", "rock'n'roll", ",", "boys", "'"]),
        ("well...\tnice-looking\n", ["well", ".", ".", ".", "nice", "-", "looking"]),
        ("Café ÉCLAIR 東京", ["café", "éclair", "東京"]),
        ("", []),
        (" \n<br />", []),
    ],
)
def test_a_text_has_these_tokens(text: str, tokens: list[str]) -> None:
    assert list(tokenize(text)) == tokens


TEXTS = ["b a a c", "a b d d c", "e b B"]  # a 3, b 4, c 2, d 2, e 1


def test_words_are_numbered_from_two_by_falling_count_and_then_by_the_alphabet() -> None:
    vocabulary = Vocabulary.of(TEXTS, minimum_count=1, max_words=100)
    assert vocabulary.numbers == {"b": 2, "a": 3, "c": 4, "d": 5, "e": 6}
    assert len(vocabulary) == 5


def test_rare_words_and_words_beyond_the_most_frequent_are_left_out() -> None:
    assert list(Vocabulary.of(TEXTS, minimum_count=2, max_words=100).numbers) == ["b", "a", "c", "d"]
    assert list(Vocabulary.of(TEXTS, minimum_count=2, max_words=3).numbers) == ["b", "a", "c"]
    assert list(Vocabulary.of(reversed(TEXTS), minimum_count=2, max_words=3).numbers) == ["b", "a", "c"]
    assert Vocabulary.of(TEXTS, minimum_count=5, max_words=3).numbers == {}


def test_a_row_holds_the_first_tokens_and_padding_after_the_end() -> None:
    vocabulary = Vocabulary.of(TEXTS, minimum_count=2, max_words=100)
    assert vocabulary.encode("A, b e c", 6) == [3, UNKNOWN, 2, UNKNOWN, 4, PADDING]
    assert vocabulary.encode("A, b e c", 3) == [3, UNKNOWN, 2]
    assert vocabulary.encode("", 2) == [PADDING, PADDING]
