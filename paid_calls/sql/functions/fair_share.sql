-- Returns one holder's fair share of `p_free`. Everybody's level rises until nothing is free
-- (max–min), from the slots that each keeps to the slots that each demands. Slots that rounding
-- leaves over go to the first in line.
CREATE OR REPLACE FUNCTION fair_share(p_free integer, p_demands integer[], p_idle_slots integer[], p_own integer)
RETURNS integer LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    level integer := 0;
    above integer := p_free + 1;
    fair  integer[];
    rest  integer;
BEGIN
    IF (SELECT sum(k) FROM unnest(p_idle_slots) AS k) > p_free THEN
        p_idle_slots := array_fill(0, ARRAY[cardinality(p_idle_slots)]);
    END IF;
    WHILE level + 1 < above LOOP
        IF p_free >= (SELECT sum(greatest(k, least(d, (level + above) / 2)))
                        FROM unnest(p_demands, p_idle_slots) AS each (d, k))
        THEN level := (level + above) / 2;
        ELSE above := (level + above) / 2;
        END IF;
    END LOOP;
    SELECT array_agg(greatest(k, least(d, level)) ORDER BY place) INTO fair
      FROM unnest(p_demands, p_idle_slots) WITH ORDINALITY AS each (d, k, place);
    rest := p_free - (SELECT sum(f) FROM unnest(fair) AS f);
    FOR i IN 1 .. cardinality(fair) LOOP
        IF rest > 0 AND fair[i] < p_demands[i] AND fair[i] <= level THEN
            fair[i] := fair[i] + 1;
            rest := rest - 1;
        END IF;
    END LOOP;
    RETURN fair[p_own];
END $$;
