-- Paragraphs of 100 words, from which transcripts are put together. Every other word is one that the search leaves out, as in
-- speech. The others are used as words are: few very often, most hardly ever (Zipf's law). They are numbers in letters: 1 is
-- in every transcript, 300 in one of ten, 19000 in one of six hundred.
CREATE UNLOGGED TABLE paragraphs (id int PRIMARY KEY, text text, segments jsonb, words tsvector);
INSERT INTO paragraphs (id, text)
SELECT p, string_agg(CASE WHEN random() < 0.5 THEN 'z' || translate(floor(exp(random() * ln(20000)))::int::text, '0123456789', 'bcfghjklmn')
    ELSE ('{the,and,i,you,to,a,it,that,is,of,we,in,have,for,on,not,do,was,are,so}'::text[])[1 + floor(random() * 20)::int] END, ' ')
FROM generate_series(1, 6000) p, generate_series(1, 100) w GROUP BY p;
UPDATE paragraphs SET words = to_tsvector('english', text), segments = (
    SELECT jsonb_agg(jsonb_build_object('speaker', CASE n % 2 WHEN 0 THEN 'agent' ELSE 'customer' END, 'start_ms', n * 5000,
        'end_ms', n * 5000 + 4800, 'text', part) ORDER BY n)
    FROM (SELECT n, string_agg(word, ' ') AS part
          FROM (SELECT (row_number() OVER () - 1) / 20 AS n, word FROM regexp_split_to_table(text, ' ') word) split GROUP BY n) parts);
