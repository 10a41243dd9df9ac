#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The manuals are true where that can be read off: operations, options and verbs.
. "${VOLNFS_SRC:-.}/tests/lib/tap.sh"
src=${VOLNFS_SRC:-.}

# The words under the .TP heading $1 of the section $2 (OPERATIONS) of internals.7.
listed() {
    awk -v want="$1" -v section="${2:-OPERATIONS}" '/^\.SH/ { on = $2 == section } !on { next }
        /^\.TP/ { getline; under = $0 == want; next } /^\./ { under = 0; next } under' "$src/man/internals.7" |
        tr ' ' '\n' | sort
}
# The operations whose rows in optable.c match $1.
rows() { sed -nE "s/^    $1.*/\\1/p" "$src/server/nfs4/optable.c" | sort; }

is "operations of all versions" "$(listed '4.0, 4.1 and 4.2')" "$({ rows 'ROW\((\w+), \w+, 0, 2,'
    rows 'ROW_VOID\((\w+), \w+, 0, 2,'; } | sort)"
is "operations of 4.0" "$(listed '4.0 only')" "$(rows 'ROW\((\w+), \w+, 0, 0,')"
is "operations of 4.1" "$(listed '4.1 and 4.2')" "$(rows 'ROW\((\w+), \w+, 1, 2,')"
is "operations of 4.2" "$(listed '4.2')" "$(rows 'ROW\((\w+), \w+, 2, 2,')"
is "operations that are not supported" "$(listed 'NFS4ERR_NOTSUPP')" "$(rows 'ROW_NOTSUPP\((\w+), [012]\)')"

# The attributes of minor version $1 with the flags $2, as in attr.c.
attrs() { sed -nE "s/^    \{FATTR4_(\w+), $1, $2\},.*/\1/p" "$src/server/nfs4/attr.c" | tr 'A-Z' 'a-z' | sort; }
is "attributes of 4.0" "$(listed '4.0' ATTRIBUTES)" "$(attrs 0 'GET( \| STATFS)?')"
is "attributes of 4.0 that can be set" "$(listed '4.0, can be set' ATTRIBUTES)" "$(attrs 0 'GET \| SET \| EXCL')"
is "attributes of 4.0 that can only be set" "$(listed '4.0, can only be set' ATTRIBUTES)" "$(attrs 0 'SET \| EXCL')"
is "attributes of 4.1" "$(listed '4.1' ATTRIBUTES)" "$(attrs 1 'GET')"
is "attributes of 4.2" "$(listed '4.2' ATTRIBUTES)" "$(attrs 2 'GET')"
is "attributes of 4.2 that can only be set" "$(listed '4.2, can only be set' ATTRIBUTES)" "$(attrs 2 'SET \| EXCL')"

"$VOLNFSD" --help >"$T/help" 2>&1
for option in $(grep -oE -- '--[a-z-]+' "$T/help" | sort -u); do
    ok "volnfsd.8 has $option" grep -q "\\\\-\\\\-$(echo "${option#--}" | sed 's/-/\\\\-/g')" "$src/man/volnfsd.8"
done
"$VOLNFS" help >"$T/help" 2>&1
for verb in $(sed -nE 's/^  ([a-z]+)  .*/\1/p' "$T/help"); do
    ok "volnfs.1 has $verb" grep -qE "^\\.(B|BI|BR|TP)? ?.*\\b$verb\\b" "$src/man/volnfs.1"
done
done_testing
