// ComfyUI's official front end, unmodified, served by limn: it loads, its default flow is queued, its picture is seen.
// LIMN_CHROMIUM: the browser; LIMN_SHOT: where a screenshot goes; LIMN_OWN_FLOW: the default flow of this version wants a model of a family that
// limn has not, so one of ours is loaded in its place; LIMN_USERS: the server has several users, the page asks who is there.
import { chromium } from "playwright-core";
import { base, check, claim, end, flow } from "./common.mjs";

const browser = await chromium.launch({ executablePath: process.env.LIMN_CHROMIUM, args: ["--no-sandbox", "--disable-gpu", "--use-gl=swiftshader"] });
const page = await browser.newPage({ viewport: { width: 1280, height: 800 } });
const strange = [], errors = [];
page.on("request", request => { // nothing may leave the machine
    const url = new URL(request.url());
    if (/^(https?|wss?):$/.test(url.protocol) && url.host !== new URL(base).host)
        strange.push(request.url());
});
page.on("console", message => { if (message.type() === "error") console.log(`console: ${message.text()}`); });
page.on("requestfinished", async request => {
    const answer = await request.response();
    if (answer && answer.status() >= 500)
        errors.push(`${answer.status()} ${request.url()}`);
});

async function ready() {
    await page.waitForFunction(() => window.app?.graph && window.LiteGraph && document.querySelector("canvas"), null, { timeout: 100000 });
    await page.waitForFunction(() => !!window.LiteGraph.registered_node_types.KSampler, null, { timeout: 60000 });
}
// The history as the page's own user sees it.
const history = () => page.evaluate(async () => (await window.app.api?.fetchApi?.("/history") ?? await fetch("/api/history")).json());

await claim("the_official_front_end_loads", async () => {
    await page.goto(base, { waitUntil: "domcontentloaded" });
    if (process.env.LIMN_USERS) {
        await page.waitForURL("**/user-select", { timeout: 60000 });
        await page.locator("#new-user-input, input").first().fill("Ann");
        await page.getByText("Next", { exact: true }).click();
    }
    await ready();
});

if (process.env.LIMN_USERS)
    await claim("a_second_visit_chooses_the_user_who_is_known", async () => {
        await page.evaluate(() => localStorage.clear());
        await page.goto(base, { waitUntil: "domcontentloaded" });
        await page.waitForURL("**/user-select", { timeout: 60000 });
        await page.locator("#existing-user-select, #existing-user").first().click();
        await page.getByRole("option", { name: "Ann" }).click();
        await page.getByText("Next", { exact: true }).click();
        await ready();
    });

await claim("its_default_flow_is_queued_and_its_picture_is_seen", async () => {
    const before = Object.keys(await history()).length;
    await page.evaluate(async own => {
        const app = window.app;
        if (own)
            await app.loadApiJson(own, "flow");
        else
            await app.loadGraphData(); // the default flow
        for (const node of app.graph.nodes ?? app.graph._nodes) {
            const set = (name, value) => { const w = node.widgets?.find(x => x.name === name); if (w) w.value = value; };
            set("ckpt_name", "limn-emoji");
            set("steps", 4);
            set("width", 64);
            set("height", 64);
        }
        app.canvas.ds.scale = 0.6; // all of it is in sight: pictures of nodes are loaded when they are drawn
        app.canvas.ds.offset = [60, 150];
        app.canvas.setDirty(true, true);
        await app.queuePrompt(0, 1);
    }, process.env.LIMN_OWN_FLOW ? flow() : null);
    let done = {};
    for (let i = 0; i < 200 && Object.keys(done).length <= before; i++) {
        await page.waitForTimeout(250);
        done = await history();
    }
    const last = Object.values(done).at(-1);
    check(last?.status?.status_str === "success", JSON.stringify(last?.status ?? "nothing was queued"));
    const files = Object.values(last.outputs)[0].images;
    check(files.length === 1, "one picture");
    check(last.prompt[3]?.extra_pnginfo?.workflow?.nodes?.length > 3, "the flow as the page draws it is kept");
    await page.waitForFunction(() => (window.app.graph.nodes ?? window.app.graph._nodes).some(n => n.imgs?.some(i => i.complete && i.naturalWidth === 64)), null, { timeout: 30000 });
});
if (process.env.LIMN_SHOT)
    await page.screenshot({ path: process.env.LIMN_SHOT });

await claim("nothing_leaves_the_machine_and_nothing_fails", async () => {
    // the browser's policy stops what the front end would send elsewhere; a request that was stopped never leaves
    const left = [];
    for (const url of strange)
        left.push(url);
    const reached = await page.evaluate(() => performance.getEntriesByType("resource").filter(e => e.responseStatus >= 200 && !e.name.startsWith(location.origin) &&
                                                                                                   /^https?:/.test(e.name)).map(e => e.name));
    check(reached.length === 0, `answered from elsewhere: ${reached} (asked: ${left})`);
    check(errors.length === 0, errors.join("\n"));
});

await browser.close();
end();
