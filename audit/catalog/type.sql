select format_type($1::oid, null);
