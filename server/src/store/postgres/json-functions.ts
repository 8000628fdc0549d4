/**
 * SQLite's functions that statements use and PostgreSQL has not, over the texts that JSON is kept in. PostgreSQL reads no escape of NUL or of half a surrogate pair
 * (what `JSON.stringify` makes of them), which clients may send: they are read as the character for what cannot be shown.
 * `pg_dump` sets an empty search path while it restores rows: what generated columns call names nothing of our own.
 */
const readable = (text: string) =>
  String.raw`regexp_replace(${text}, '(?<!\\)((?:\\\\)*)\\u(?:0000|[dD][89a-fA-F][0-9a-fA-F]{2})', '\1\\ufffd', 'g')::json`;

const immutable = (signature: string, result: string, body: string) =>
  `CREATE FUNCTION ${signature} RETURNS ${result} LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$ SELECT ${body} $$;`;

export const JSON_FUNCTIONS = `
  ${immutable('json_extract(document text, path text)', 'text', `${readable('document')} #>> string_to_array(substr(path, 3), '.')`)}
  ${immutable('json_array_length(document text)', 'bigint', `json_array_length(${readable('document')})::bigint`)}
  ${immutable('max(one bigint, other bigint)', 'bigint', 'greatest(one, other)')}
  ${immutable('json_of_texts(texts text[])', 'text', 'array_to_json(texts)::text')}
  CREATE AGGREGATE json_group_array(text) (SFUNC = array_append, STYPE = text[], INITCOND = '{}', FINALFUNC = json_of_texts);

  CREATE FUNCTION json_each(document text) RETURNS TABLE (key text, value text) LANGUAGE plpgsql IMMUTABLE STRICT AS $$
  DECLARE parsed json := ${readable('document')};
  BEGIN
    IF json_typeof(parsed) = 'array' THEN
      RETURN QUERY SELECT (element.place - 1)::text, element.content
        FROM json_array_elements_text(parsed) WITH ORDINALITY AS element(content, place);
    ELSE
      RETURN QUERY SELECT member.name, member.content FROM json_each_text(parsed) AS member(name, content);
    END IF;
  END $$;
  CREATE FUNCTION json_each(document text, path text) RETURNS TABLE (key text, value text) LANGUAGE sql IMMUTABLE STRICT AS $$
    SELECT part.key, part.value FROM json_each((${readable('document')} #> string_to_array(substr(path, 3), '.'))::text) AS part
  $$;
`;
