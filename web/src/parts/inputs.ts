// The inputs of a node, in the table's order.

import type { InputInfo, NodeInfo } from "../api";

export function inputsOf(info: NodeInfo): { name: string; info: InputInfo; optional: boolean }[] {
    const part = (kind: "required" | "optional"): { name: string; info: InputInfo; optional: boolean }[] => {
        const all = info.input[kind] ?? {}, order = info.input_order?.[kind] ?? Object.keys(all);
        return order.filter(n => all[n]).map(name => ({ name, info: all[name], optional: kind === "optional" }));
    };
    return [...part("required"), ...part("optional")];
}
