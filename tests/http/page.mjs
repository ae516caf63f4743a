// limn's own page in a headless browser: what a newcomer does, and what nobody should meet. LIMN_PAGE: the folder it was built into;
// LIMN_SHOTS: where screenshots go.
import { readFileSync, readdirSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { chromium } from "playwright-core";
import { base, check, claim, end, flow } from "./common.mjs";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const browser = await chromium.launch({ executablePath: process.env.LIMN_CHROMIUM, args: ["--no-sandbox", "--disable-gpu"] });
const context = await browser.newContext({ viewport: { width: 1280, height: 860 }, locale: "en-GB", bypassCSP: true });
const page = await context.newPage();
const strange = [], errors = [];
page.on("request", r => { if (/^(https?|wss?):/.test(r.url()) && new URL(r.url()).host !== new URL(base).host) strange.push(r.url()); });
page.on("pageerror", e => errors.push(e.message));
const shot = name => page.screenshot({ path: join(process.env.LIMN_SHOTS, `page-${name}.png`) });
const open = async name => {
    await page.click(`nav a[data-page=${name}]`);
    await page.waitForSelector(`section[aria-label]:not([hidden])`);
};
const drawn = () => page.waitForSelector("section:not([hidden]) img.finished", { timeout: 60000 });
const loaded = selector => page.waitForFunction(s => { const i = document.querySelector(s); return i && i.complete && i.naturalWidth > 0; }, selector, { timeout: 30000 });

async function serious() {
    await page.evaluate(axe);
    const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
    return found.violations.filter(v => v.impact === "serious" || v.impact === "critical").map(v => `${v.id}: ${v.nodes.map(n => n.html.slice(0, 120)).join(" | ")}`);
}

await claim("words_and_size_come_first_and_a_picture_a_moment_later", async () => {
    await page.goto(base);
    const first = await page.$$eval("section:not([hidden]) textarea, section:not([hidden]) .chip", all => all.filter(e => e.getBoundingClientRect().height > 0).map(e => e.tagName));
    check(first[0] === "TEXTAREA" && first[1] === "BUTTON", `what is seen first: ${first}`);
    await page.waitForFunction(() => document.querySelector(".chip[aria-pressed=true]"));
    await page.fill("#words", "a red apple, 3d style");
    await page.keyboard.press("Control+Enter");
    await drawn();
    await loaded("img.finished");
    check(await page.$eval("img.finished", i => i.naturalWidth) === 128, "the model's own size");
    await shot("draw");
});

await claim("a_seed_that_is_kept_gives_the_same_picture", async () => {
    await page.click("summary");
    await page.check("label.check input");
    const ended = async () => Object.keys(await (await fetch(`${base}/history`)).json()).length;
    const once = async () => {
        const before = await ended();
        await page.click("button.main");
        for (let i = 0; i < 300 && await ended() === before; i++) // a flow that ran already ends at once, with the same file
            await page.waitForTimeout(100);
        await page.waitForTimeout(500);
        await drawn();
        return Buffer.from(await (await fetch(await page.$eval("img.finished", i => i.src))).arrayBuffer());
    };
    const pixels = b => b.subarray(b.indexOf("IDAT"));
    const a = await once();
    await page.fill("textarea >> nth=1", "blue"); // another picture between
    const other = await once();
    await page.fill("textarea >> nth=1", "");
    const again = await once();
    check(pixels(a).equals(pixels(again)), "the same settings, another picture");
    check(!pixels(a).equals(pixels(other)), "other settings, the same picture");
});

await claim("a_picture_gives_its_settings_and_begins_another", async () => {
    const src = await page.$eval("img.finished", i => i.src), name = new URL(src).searchParams.get("filename");
    const buffer = Buffer.from(await (await fetch(src)).arrayBuffer());
    await page.fill("#words", "something else");
    await page.setInputFiles(".drop input[type=file]", { name, mimeType: "image/png", buffer });
    await page.waitForSelector(".mask-paint");
    await page.click(".drop button:has-text('Take its settings')");
    await page.waitForFunction(() => document.querySelector("#words").value === "a red apple, 3d style", null, { timeout: 5000 });
    const box = await (await page.$(".mask-paint")).boundingBox();
    await page.mouse.move(box.x + box.width * 0.3, box.y + box.height * 0.5);
    await page.mouse.down();
    await page.mouse.move(box.x + box.width * 0.7, box.y + box.height * 0.5, { steps: 5 });
    await page.mouse.up();
    const before = await page.$eval("img.finished", i => i.src);
    await page.click("button.main");
    await page.waitForFunction(b => { const i = document.querySelector("img.finished"); return i && i.src !== b; }, before, { timeout: 60000 });
    const history = Object.values(await (await fetch(`${base}/history`)).json()).at(-1);
    check(Object.values(history.prompt[2]).some(n => n.class_type === "SetLatentNoiseMask"), "the mask is in the flow");
    await shot("mask");
    await page.click(".drop button:has-text('Remove the picture')");
});

await claim("one_click_from_a_picture_to_its_flow_which_runs", async () => {
    const before = Object.keys(await (await fetch(`${base}/history`)).json()).length;
    await page.click("button:has-text('Open as a flow')");
    await page.waitForSelector(".flow-bar");
    await page.waitForTimeout(500);
    await page.click(".flow-bar button.main");
    let n = before;
    for (let i = 0; i < 200 && n <= before; i++) {
        await page.waitForTimeout(200);
        n = Object.keys(await (await fetch(`${base}/history`)).json()).length;
    }
    check(n === before + 1, "the flow ran");
    const last = Object.values(await (await fetch(`${base}/history`)).json()).at(-1);
    check(last.status.status_str === "success" && last.prompt[3].extra_pnginfo.workflow.nodes.length >= 7, JSON.stringify(last.status));
    await shot("flow");
});

await claim("a_flow_that_is_wrong_says_where", async () => {
    const wrong = flow();
    wrong[4].inputs.ckpt_name = "no such model";
    const data = Buffer.from(JSON.stringify(wrong));
    await page.setInputFiles(".flow-bar input[type=file]", { name: "wrong.json", mimeType: "application/json", buffer: data });
    await page.waitForTimeout(300);
    await page.click(".flow-bar button.main");
    await page.waitForSelector(".status.bad");
    check((await page.textContent(".status")).includes("CheckpointLoaderSimple"), await page.textContent(".status"));
});

await claim("the_gallery_finds_tags_deletes_and_brings_back", async () => {
    await open("gallery");
    const count = () => page.$$eval("section:not([hidden]) .pictures-grid .thumb", all => all.length);
    await page.waitForFunction(() => document.querySelectorAll("section:not([hidden]) .pictures-grid .thumb").length > 2);
    await loaded(".pictures-grid .thumb img");
    await shot("gallery");
    const all = await count();
    await page.fill("section:not([hidden]) input[type=search]", "zebra");
    await page.waitForFunction(() => !document.querySelector("section:not([hidden]) .pictures-grid .thumb"));
    await page.fill("section:not([hidden]) input[type=search]", "apple");
    await page.waitForFunction(n => document.querySelectorAll("section:not([hidden]) .pictures-grid .thumb").length === n, all);
    await page.click("section:not([hidden]) .pictures-grid .thumb");
    await page.waitForSelector("dialog[open] .detail");
    await loaded("dialog[open] img");
    await shot("picture");
    await page.click("dialog button:has-text('Delete')");
    await page.waitForFunction(n => document.querySelectorAll("section:not([hidden]) .pictures-grid .thumb").length === n - 1, all);
    await page.click(".status button");
    await page.waitForFunction(n => document.querySelectorAll("section:not([hidden]) .pictures-grid .thumb").length === n, all);
});

await claim("jobs_are_listed_and_a_running_one_is_stopped", async () => {
    await open("queue");
    await page.waitForSelector(".job");
    const long = flow({ seed: 99, steps: 5000 });
    await fetch(`${base}/prompt`, { method: "POST", body: JSON.stringify({ prompt: long }) });
    await page.waitForSelector(".job button:has-text('Stop')", { timeout: 20000 });
    await page.click(".job button:has-text('Stop')");
    await page.waitForSelector("text=stopped", { timeout: 20000 });
    await shot("queue");
});

await claim("a_data_set_is_made_and_captioned", async () => {
    await open("data");
    const src = await (await fetch(`${base}/limn/gallery?limit=1`)).json(), id = src.pictures[0].id;
    const buffer = Buffer.from(await (await fetch(`${base}/limn/gallery/${id}/file`)).arrayBuffer());
    await page.fill("section:not([hidden]) input[type=text]", "apples");
    await page.setInputFiles("section:not([hidden]) input[type=file]", [
        { name: "one.png", mimeType: "image/png", buffer }, { name: "one.txt", mimeType: "text/plain", buffer: Buffer.from("an apple") }]);
    await page.waitForSelector("figure textarea");
    check(await page.inputValue("figure textarea") === "an apple", "the text file is the caption");
    await page.fill("figure textarea", "a red apple");
    await page.locator("figure textarea").blur();
    for (let i = 0, now = ""; now !== "a red apple"; i++) {
        check(i < 50, `the caption is ${now}`);
        await page.waitForTimeout(100);
        now = (await (await fetch(`${base}/limn/datasets/apples`)).json()).pictures[0].text;
    }
    await shot("data");
});

await claim("two_pictures_are_compared", async () => {
    await open("evaluate");
    const rows = (await (await fetch(`${base}/limn/gallery?limit=2`)).json()).pictures;
    const inputs = await page.$$("section:not([hidden]) .panel:first-child input[type=file]");
    for (const [i, row] of rows.entries())
        await inputs[i].setInputFiles({ name: `${i}.png`, mimeType: "image/png", buffer: Buffer.from(await (await fetch(`${base}/limn/gallery/${row.id}/file`)).arrayBuffer()) });
    await page.waitForSelector("td:has-text('ssim')");
    await shot("evaluate");
});

await claim("every_page_is_for_everybody", async () => {
    for (const name of ["draw", "flow", "gallery", "queue", "models", "data", "train", "evaluate"]) {
        await open(name);
        await page.waitForTimeout(600);
        const found = await serious();
        check(found.length === 0, `${name}: ${found.join("\n")}`);
    }
});

await claim("chinese_dark_and_narrow", async () => {
    await open("draw");
    await page.click(".corner button[title]");
    await page.click(".corner button:first-child");
    await page.waitForSelector("nav a:has-text('绘制')");
    await page.setViewportSize({ width: 390, height: 844 });
    for (const name of ["draw", "gallery", "queue", "models", "data", "train", "evaluate"]) {
        await open(name);
        await page.waitForTimeout(200);
        const over = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
        check(over <= 0, `${name} is ${over} pixels too wide for a telephone`);
    }
    await open("draw");
    const found = await serious();
    check(found.length === 0, found.join("\n"));
    await shot("narrow");
});

await claim("the_page_is_small_and_keeps_to_itself", async () => {
    let bytes = 0;
    const add = folder => { for (const f of readdirSync(folder)) { const p = join(folder, f); if (statSync(p).isDirectory()) add(p); else bytes += gzipSync(readFileSync(p)).length; } };
    add(process.env.LIMN_PAGE);
    check(bytes < 400000, `${bytes} bytes packed`);
    check(strange.length === 0, `asked elsewhere: ${strange}`);
    check(errors.length === 0, errors.join("\n"));
});

await browser.close();
end();
