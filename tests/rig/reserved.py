"""Words that no table and no column may be called: reserved in SQL, in MySQL or MariaDB, in 1C's query language."""

# ISO/IEC 9075-2:2023, reserved
SQL = frozenset(
    """
    abs absent acos all allocate alter and any any_value are array array_agg array_max_cardinality as asensitive
    asin asymmetric at atan atomic authorization avg begin begin_frame begin_partition between bigint binary blob
    boolean both btrim by call called cardinality cascaded case cast ceil ceiling char char_length character
    character_length check classifier clob close coalesce collate collect column commit condition connect constraint
    contains convert copy corr corresponding cos cosh count covar_pop covar_samp create cross cube cume_dist current
    current_catalog current_date current_default_transform_group current_path current_role current_row
    current_schema current_time current_timestamp current_transform_group_for_type current_user cursor cycle date
    day deallocate dec decfloat decimal declare default define delete dense_rank deref describe deterministic
    disconnect distinct double drop dynamic each element else empty end end_frame end_partition equals escape every
    except exec execute exists exp external extract false fetch filter first_value float floor for foreign frame_row
    free from full function fusion get global grant greatest group grouping groups having hold hour identity in
    indicator initial inner inout insensitive insert int integer intersect intersection interval into is join json
    json_array json_arrayagg json_exists json_object json_objectagg json_query json_scalar json_serialize json_table
    json_table_primitive json_value lag language large last_value lateral lead leading least left like like_regex
    listagg ln local localtime localtimestamp log log10 lower lpad ltrim match match_number match_recognize matches
    max member merge method min minute mod modifies module month multiset national natural nchar nclob new no none
    normalize not nth_value ntile null nullif numeric occurrences_regex octet_length of offset old omit on one only
    open or order out outer over overlaps overlay parameter partition pattern per percent percent_rank
    percentile_cont percentile_disc period portion position position_regex power precedes precision prepare primary
    procedure ptf range rank reads real recursive ref references referencing regr_avgx regr_avgy regr_count
    regr_intercept regr_r2 regr_slope regr_sxx regr_sxy regr_syy release result return returns revoke right rollback
    rollup row row_number rows rpad rtrim running savepoint scope scroll search second seek select sensitive
    session_user set show similar sin sinh skip smallint some specific specifictype sql sqlexception sqlstate
    sqlwarning sqrt start static stddev_pop stddev_samp submultiset subset substring substring_regex succeeds sum
    symmetric system system_time system_user table tablesample tan tanh then time timestamp timezone_hour
    timezone_minute to trailing translate translate_regex translation treat trigger trim trim_array true truncate
    uescape union unique unknown unnest update upper user using value value_of values var_pop var_samp varbinary
    varchar varying versioning when whenever where width_bucket window with within without year
    """.split()
)

# reserved in MySQL up to 9 or in MariaDB (its Oracle mode too)
MYSQL = frozenset(
    """
    accessible add admin all alter analyze and array as asc asensitive before between bigint binary blob body both
    by call cascade case change char character check collate column condition constraint continue convert create
    cross cube cume_dist current_date current_role current_time current_timestamp current_user cursor database
    databases day_hour day_microsecond day_minute day_second dec decimal declare default delayed delete dense_rank
    desc describe deterministic distinct distinctrow div do_domain_ids double drop dual each else elseif elsif empty
    enclosed escaped except exists exit explain false fetch first_value float float4 float8 for force foreign from
    fulltext function general generated get get_master_public_key goto grant group grouping groups having
    high_priority history hour_microsecond hour_minute hour_second if ignore ignore_domain_ids ignore_server_ids in
    index infile inner inout insensitive insert int int1 int2 int3 int4 int8 integer intersect interval into
    io_after_gtids io_before_gtids is iterate join json_table key keys kill lag last_value lateral lead leading
    leave left like limit linear lines load localtime localtimestamp lock long longblob longtext loop low_priority
    manual master_bind master_heartbeat_period master_ssl_verify_server_cert match maxvalue mediumblob mediumint
    mediumtext member middleint minute_microsecond minute_second mod modifies natural no_write_to_binlog not
    nth_value ntile null numeric of offset on optimize optimizer_costs option optionally or order others out outer
    outfile over package page_checksum parallel parse_gcol_expr parse_vcol_expr partition percent_rank period
    persist persist_only position precision primary procedure purge qualify raise range rank read read_write reads
    real recursive ref_system_id references regexp release rename repeat replace require resignal restrict return
    returning revoke right rlike role row row_number rows rowtype schema schemas second_microsecond select sensitive
    separator set show signal slow smallint spatial specific sql sql_after_gtids sql_before_gtids sql_big_result
    sql_calc_found_rows sql_small_result sqlexception sqlstate sqlwarning ssl starting stats_auto_recalc
    stats_persistent stats_sample_pages stored straight_join system system_time table tablesample terminated then
    tinyblob tinyint tinytext to trailing trigger true undo union unique unlock unsigned update usage use using
    utc_date utc_time utc_timestamp values varbinary varchar varcharacter varying versioning virtual when where
    while window with without write xor year_month zerofill
    """.split()
)

# 1C's query language, the English spelling of its words, functions and table kinds, and `ref`, the standard field
ONEC = frozenset(
    """
    accountingregister accumulationregister acos all allowed and as asc asin atan autoorder avg balance
    beginofperiod between boolean boundaries businessprocess by calculationregister case cast catalog
    chartofaccounts constant cos count cube date dateadd datediff datetime day dayofyear desc distinct document
    documentjournal drop else emptyref emptytable end endofperiod enum escape exchangeplan exp externaldatasource
    false filtercriterion for from full group groupedby grouping halfyear having hierarchy hour in index
    informationregister inner int into is isnull join left like log log10 lower max min minute month not null number
    of on only or order outer overall periods pow presentation quarter recordautonumber ref refpresentation refs
    right round routepoint second select sequence set sin sqrt storeddatasize strfind string stringlength strreplace
    substring sum table tan task tendays then top totals trimall triml trimr true turnovers type undefined union
    update upper uuid value valuetype week weekday when where year
    """.split()
)
