import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from history.config import DEFAULT_MASK
from history.writing.masking import Mask

MASK = Mask(DEFAULT_MASK)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ('{"password":"x","n":1.10}', '{"password":"***","n":1.10}'),
        ('{"a":{"API_KEY": [1,{"b":2}], "c":3}}', '{"a":{"API_KEY":"***", "c":3}}'),
        ('[{"db_secret":{"x":[1]}},{"token":null}]', '[{"db_secret":"***"},{"token":"***"}]'),
        ('{"pass\\u0077ord":true}', '{"pass\\u0077ord":"***"}'),
        ('{"secret":[]}', '{"secret":"***"}'),
        ('{"token":-1.5e9}', '{"token":"***"}'),
    ],
)
def test_the_values_of_secret_keys_alone_are_replaced(text, masked):
    assert MASK.apply(text) == (masked, True)


@pytest.mark.parametrize(
    "text", ['{"a":"password"}', '["secret",":","token"]', '{"passwords":1}', '"token"', "", "{"]
)
def test_what_is_no_secret_stays_to_the_letter(text):
    assert MASK.apply(text) == (text, False)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["a", "token", "A_Secret"]) | st.text(), inner, max_size=4
        )
    ),
)


def without_secrets(value):
    if isinstance(value, dict):
        return {
            key: "***" if MASK.hides(key) else without_secrets(one) for key, one in value.items()
        }
    return [without_secrets(one) for one in value] if isinstance(value, list) else value


@given(JSON, st.booleans())
def test_any_json_is_masked_as_its_values_would_be(value, indented):
    text = json.dumps(value, indent=2 if indented else None)

    assert json.loads(MASK.apply(text)[0]) == without_secrets(value)
