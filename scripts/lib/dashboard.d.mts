/** Makes the dashboard's files anew when a source of them is newer; says what was done. */
export function ensureDashboard(): Promise<string>;
