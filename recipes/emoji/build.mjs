// Builds the emoji training set: see README.md. Started by ./build.
import { createHash } from 'node:crypto';
import { execFile, execFileSync, spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { concepts, nameTable, picturesOf, plainCode } from './names.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));
const usage = 'usage: recipes/emoji/build OUT_FOLDER [--size 256] [--jobs 2] [--outline] [--only STYLE] [--symbols]';

function arguments_() {
    const o = { out: null, size: 256, jobs: Math.min(2, os.cpus().length), outline: false, symbols: false, only: null };
    const list = process.argv.slice(2);
    while (list.length) {
        const a = list.shift();
        const number = () => {
            const n = Number(list.shift());
            if (!Number.isInteger(n) || n < 1 || n > 4096)
                quit(2, `${a} wants a whole number from 1 to 4096\n${usage}`);
            return n;
        };
        if (a === '--size') o.size = number();
        else if (a === '--jobs') o.jobs = number();
        else if (a === '--outline') o.outline = true;
        else if (a === '--symbols') o.symbols = true;
        else if (a === '--only') o.only = list.shift();
        else if (a.startsWith('-') || o.out) quit(2, usage);
        else o.out = path.resolve(a);
    }
    return o.out ? o : quit(2, usage);
}

function quit(status, text) {
    console.error(text);
    process.exit(status);
}

// The packages, installed beside the pictures and only if they are not the wanted ones yet.
function install(art) {
    const wanted = fs.readFileSync(path.join(here, 'package.json'), 'utf8');
    const mark = path.join(art, 'installed.json');
    if (fs.existsSync(mark) && fs.readFileSync(mark, 'utf8') === wanted)
        return;
    console.log('installing the art with npm');
    fs.mkdirSync(art, { recursive: true });
    fs.writeFileSync(path.join(art, 'package.json'), wanted);
    execFileSync('npm', ['install', '--no-audit', '--no-fund', '--ignore-scripts', '--no-package-lock', '--loglevel=error'],
        { cwd: art, stdio: 'inherit' });
    fs.writeFileSync(mark, wanted);
}

// A pair that is held out never moves: the choice depends on nothing but its own name.
const heldOut = (hexcode, style) =>
    createHash('sha256').update(`${hexcode}/${style}`).digest().readUInt32BE(0) % 20 === 0;

// The inner svg clips as the canvas of the art does; the outer one adds the margin and squares it.
function svgText(p, scale, size) {
    const side = Math.max(p.width, p.height) / scale;
    const x = (p.width - side) / 2, y = (p.height - side) / 2;
    const body = p.flip ? `<g transform="translate(${p.width} 0) scale(-1 1)">${p.body}</g>` : p.body;
    return '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" ' +
        `width="${size}" height="${size}" viewBox="${x} ${y} ${side} ${side}">` +
        `<svg x="0" y="0" width="${p.width}" height="${p.height}" viewBox="0 0 ${p.width} ${p.height}">${body}</svg></svg>`;
}

function renderSvg(job, size) {
    return new Promise((resolve, reject) => {
        const temporary = job.path + '.part';
        const run = spawn('rsvg-convert', ['--unlimited', '-f', 'png', '-o', temporary], { stdio: ['pipe', 'ignore', 'pipe'] });
        let said = '';
        run.stderr.on('data', (d) => said += d);
        run.on('error', reject);
        run.stdin.on('error', () => {});
        run.on('close', (status) => {
            if (status !== 0)
                return reject(new Error(`${job.style} ${job.picture.name}: rsvg-convert ended with ${status}: ${said}`));
            fs.renameSync(temporary, job.path);
            resolve();
        });
        run.stdin.end(svgText(job.picture, job.scale, size));
    });
}

function renderWebp(job, size) {
    return new Promise((resolve, reject) => {
        const temporary = job.path.replace(/\.png$/, '.part.png');
        execFile('vips', ['thumbnail', job.picture.path, temporary, String(size), '--height', String(size)], (error, _, said) => {
            if (error)
                return reject(new Error(`${job.picture.path}: vips: ${said || error.message}`));
            fs.renameSync(temporary, job.path);
            resolve();
        });
    });
}

async function renderAll(jobs, options) {
    const left = jobs.filter((j) => !fs.existsSync(j.path));
    const total = left.length, began = Date.now();
    const failed = [];
    let done = 0, shown = 0;
    console.log(`${jobs.length} pictures, ${jobs.length - total} are there, ${total} to render`);
    const queue = left.values();
    const worker = async () => {
        for (const job of queue) {
            try {
                await (job.picture.path ? renderWebp(job, options.size) : renderSvg(job, options.size));
            } catch (error) {
                failed.push(error.message);
                fs.rmSync(job.path + '.part', { force: true });
            }
            done++;
            const now = Date.now();
            if (now - shown > 2000 || done === total) {
                shown = now;
                const rate = done / ((now - began) / 1000);
                process.stdout.write(`  ${done}/${total}  ${rate.toFixed(0)}/s  ${((total - done) / rate).toFixed(0)} s left\n`);
            }
        }
    };
    await Promise.all(Array.from({ length: options.jobs }, worker));
    // A few drawings ask more of a renderer than it gives; more than a few mean that something else is wrong.
    for (const text of failed)
        console.error(`left out: ${text.trim()}`);
    if (failed.length > 20)
        quit(1, `${failed.length} pictures could not be rendered`);
}

function writeWhole(file, text) {
    fs.writeFileSync(file + '.part', text);
    fs.renameSync(file + '.part', file);
}

const options = arguments_();
const art = path.join(options.out, 'art');
install(art);
const modules = path.join(art, 'node_modules');
const read = (file) => {
    const p = path.join(modules, file);
    return fs.existsSync(p) ? JSON.parse(fs.readFileSync(p, 'utf8')) : undefined;
};
const styles = JSON.parse(fs.readFileSync(path.join(here, 'styles.json'), 'utf8'));
const corrections = JSON.parse(fs.readFileSync(path.join(here, 'corrections.json'), 'utf8'));
const all = concepts(read);
const table = { ...nameTable(read, all), codes: all };

if (options.only && !styles[options.only])
    quit(2, `--only ${options.only}: there are ${Object.keys(styles).join(', ')}`);
const jobs = [];
for (const [style, s] of Object.entries(styles)) {
    if (options.only ? style !== options.only : s.held_back && !options.outline)
        continue;
    let pictures;
    if (s.kind === 'webp') {
        const folder = path.join(modules, s.package, 'assets');
        pictures = new Map(fs.readdirSync(folder).filter((f) => f.endsWith('.webp'))
            .map((f) => [plainCode(f.slice(0, -5)), { path: path.join(folder, f), name: f }])
            .filter(([code]) => all.has(code)));
    } else {
        pictures = picturesOf(read(s.package + '/icons.json'), read(s.package + '/chars.json'), table,
            corrections[style] ?? {});
    }
    const folder = path.join(options.out, style), mark = path.join(folder, 'made-with.json');
    const names = [...pictures].map(([code, p]) => `${code} ${p.name}`).sort().join('\n');
    const how = JSON.stringify({ size: options.size, scale: s.scale, version: read(s.package + '/package.json').version,
        names: createHash('sha256').update(names).digest('hex') });
    if (!fs.existsSync(mark) || fs.readFileSync(mark, 'utf8') !== how) {
        fs.rmSync(folder, { recursive: true, force: true });
        fs.mkdirSync(folder, { recursive: true });
        fs.writeFileSync(mark, how);
    }
    for (const [code, concept] of all)
        if (pictures.has(code) && (options.symbols || concept.group !== 'symbols'))
            jobs.push({ style, scale: s.scale, concept, picture: pictures.get(code), held_back: s.held_back === true,
                file_name: `${style}/${code}.png`, path: path.join(options.out, style, code + '.png') });
}
await renderAll(jobs, options);

const lines = jobs.filter((j) => fs.existsSync(j.path)).map((j) => ({
    file_name: j.file_name, hexcode: j.concept.hexcode, style: j.style, group: j.concept.group,
    label_en: j.concept.label_en, label_zh: j.concept.label_zh, style_en: `${j.style} style`, style_zh: styles[j.style].zh,
    article_en: j.concept.article_en, counter_zh: j.concept.counter_zh,
    tags_en: j.concept.tags_en, tags_zh: j.concept.tags_zh,
    text: `${j.concept.label_en.toLowerCase()}, ${j.style} style`,
    split: j.held_back || heldOut(j.concept.hexcode, j.style) ? 'held-out' : 'train',
}));
const quoted = (s) => /[",\n]/.test(s) ? `"${s.replace(/"/g, '""')}"` : s;
writeWhole(path.join(options.out, 'metadata.csv'),
    'file_name,text\n' + lines.map((l) => `${quoted(l.file_name)},${quoted(l.text)}\n`).join(''));
writeWhole(path.join(options.out, 'metadata.jsonl'), lines.map((l) => JSON.stringify(l) + '\n').join(''));
const count = {};
for (const l of lines) {
    count[l.style] ??= { train: 0, 'held-out': 0 };
    count[l.style][l.split]++;
}
console.table(count);
const sum = (split) => lines.filter((l) => l.split === split).length;
console.log(`${lines.length} pictures of ${new Set(lines.map((l) => l.hexcode)).size} concepts: ` +
    `${sum('train')} to train on, ${sum('held-out')} held out`);
