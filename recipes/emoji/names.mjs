// Which picture of a set shows which concept. Sets name their pictures ("red-apple", "redapple"); a concept is an emoji
// of Unicode, known by its code points ("1F34E") with the variation selector FE0F left out.

// Groups of emojibase-data. 2 is skin tones and hair, 9 flags: neither is ever drawn.
export const GROUPS = ['smileys', 'people-body', 'component', 'animals-nature', 'food-drink', 'travel-places',
    'activities', 'objects', 'symbols', 'flags'];
const NEVER = new Set([2, 9]);

export const plainCode = (code) => code.toUpperCase().split('-').filter((c) => c !== 'FE0F').join('-');

const slug = (name) => name.normalize('NFD').replace(/[\u0300-\u036f]/g, '').toLowerCase()
    .replace(/[’'.“”!,()]/g, '').replace(/&/g, ' and ').replace(/[^a-z0-9#*]+/g, '-').replace(/^-|-$/g, '');
const squash = (name) => name.replace(/-/g, '');

// "a", "an" or "": names of persons and places, lists ("person: blond hair"), plurals and stuff take none.
const STUFF = /(^| )(bread|rice|cheese|bacon|butter|honey|salt|water|fog|wind|money|fire|jeans|scissors|hair|food|luggage|music|mail|equipment|sake|garlic|chocolate|ice|popcorn|dna|broccoli|sushi|oden|curry|spaghetti|tofu|ice cream|soccer|tennis|badminton|golf|volleyball|basketball|cricket|hockey|lacrosse|football|baseball|rugby|yarn|thread|soap|tea|milk|boxing|fencing|camping|skiing)$/;
export function articleOf(label) {
    const head = label.split(/ (?:with|of|in|on|without|holding|showing|savoring|at|from|behind) /)[0];
    const last = head.split(' ').pop();
    if (/[A-Z]/.test(label.replace(/\b(OK|CD|DVD|ATM|TV|DNA|T-Rex|T-shirt|X-ray|RV|SUV)\b/g, '')) || /[:,]/.test(label))
        return '';
    if (/s$/.test(last) && !/(’s|ss|us|is|as|os|lens)$/.test(last))
        return '';
    if (/^(men|women|people|children|two|three|cooked|see-no|hear-no|speak-no)\b/.test(label) || /(men|women|people|children|mice|teeth|feet)$/.test(last))
        return '';
    if (STUFF.test(head.toLowerCase()))
        return '';
    return /^(OK|ATM|X-ray|RV|SUV|hourglass|[aeio]|u(?!ni|ti|se|kr))/.test(label) ? 'an' : 'a';
}

// The subgroups of emojibase-data whose members are counted with 只 in Chinese: animals. Faces are not counted: their
// Chinese labels are mostly doings (大笑).
const ANIMALS = /^animal-(mammal|bird|amphibian|reptile|marine|bug)$/;

// read(path) gives a parsed JSON file of the installed packages, or undefined.
// Returns a Map: code -> { hexcode, order, group, label_en, label_zh, tags_en, tags_zh, article_en, counter_zh },
// in Unicode's order.
export function concepts(read) {
    const zh = new Map(read('emojibase-data/zh/data.json').map((x) => [x.hexcode, x]));
    const subgroups = read('emojibase-data/meta/groups.json').subgroups;
    const all = read('emojibase-data/en/data.json')
        .filter((x) => x.group !== undefined && !NEVER.has(x.group) && zh.has(x.hexcode))
        .sort((a, b) => a.order - b.order);
    return new Map(all.map((x) => [plainCode(x.hexcode), {
        hexcode: plainCode(x.hexcode), group: GROUPS[x.group],
        label_en: x.label, label_zh: zh.get(x.hexcode).label,
        article_en: articleOf(x.label), counter_zh: GROUPS[x.group] === 'smileys' ? '' : ANIMALS.test(subgroups[x.subgroup]) ? '只' : '个',
        tags_en: x.tags ?? [], tags_zh: zh.get(x.hexcode).tags ?? [],
    }]));
}

// Names -> code, from the surest source to the least sure; an earlier source is never overruled.
export function nameTable(read, all) {
    const table = new Map();
    const add = (name, code, rank) => {
        if (all.has(code) && !table.has(slug(name)))
            table.set(slug(name), { code, rank });
    };
    for (const [code, c] of all)
        add(c.label_en, code, 0);
    for (const set of ['twemoji', 'noto'])
        for (const [code, name] of Object.entries(read(`@iconify-json/${set}/chars.json`)))
            add(name, plainCode(code), 1);
    for (const [code, name] of Object.entries(read('emojibase-data/meta/unicode-names.json')))
        add(name, plainCode(code), 2);
    for (const list of ['cldr', 'emojibase', 'joypixels', 'github', 'iamcal', 'emojibase-legacy'])
        for (const [code, names] of Object.entries(read(`emojibase-data/en/shortcodes/${list}.json`) ?? {}))
            for (const name of [names].flat())
                add(name, plainCode(code), 3);
    const squashed = new Map();
    for (const [name, found] of table)
        if (!squashed.has(squash(name)))
            squashed.set(squash(name), { code: found.code, rank: found.rank + 4 });
    return { exact: table, squashed };
}

// The pictures of one iconify set. Returns a Map: code -> { name, rank, body, width, height, flip }.
// `corrections`: names that mean something else in this set: the code, or null where the picture shows no concept.
export function picturesOf(set, chars, table, corrections) {
    const found = new Map();
    const offer = (code, rank, name) => {
        const alias = set.aliases?.[name];
        const icon = set.icons[alias ? alias.parent : name];
        if (!icon)
            return;
        // A picture under its own name before an alias, and before one that the set has withdrawn.
        const cost = rank * 4 + (alias ? 1 : 0) + (icon.hidden ? 2 : 0);
        if (!found.has(code) || cost < found.get(code).cost)
            found.set(code, { cost, rank, name, body: icon.body, flip: alias?.hFlip === true,
                width: icon.width ?? set.width, height: icon.height ?? set.height });
    };
    for (const [name, code] of Object.entries(corrections))
        if (code)
            offer(code, -2, name);
    for (const [code, name] of Object.entries(chars ?? {}))
        if (table.codes.has(plainCode(code)))
            offer(plainCode(code), -1, name);
    for (const name of [...Object.keys(set.icons), ...Object.keys(set.aliases ?? {})]) {
        if (name in corrections)
            continue;
        // streamline numbers its variants: "man-pilot-2"
        for (const as of [name, name.replace(/-\d$/, '')]) {
            const hit = table.exact.get(as) ?? table.squashed.get(squash(as));
            if (hit)
                offer(hit.code, hit.rank, name);
        }
    }
    return found;
}
